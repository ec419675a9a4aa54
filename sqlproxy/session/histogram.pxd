cimport cython

cdef int _SIZE
cdef double _PER_SECOND

cdef class Histogram:
    cdef public long long count
    cdef public double total
    cdef public unsigned long long buckets[108]

    @cython.locals(units=cython.longlong, octave=int, place=int)
    cpdef add(self, double seconds)
