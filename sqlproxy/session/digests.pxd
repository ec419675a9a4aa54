cimport cython
from sqlproxy.session.histogram cimport Histogram

cdef unsigned long long _MASK, _PRIME, _RECENT

cdef class Row:
    cdef public bytes text
    cdef public unsigned long long number
    cdef public bytes user
    cdef public str server
    cdef public bint known
    cdef public Histogram times
    cdef public long long errors
    cdef public long long rows
    cdef public long long size
    cdef public double fastest
    cdef public double slowest
    cdef public double first
    cdef public double last

    cpdef add(self, double seconds, long long rows, long long size, bint failed, double now)

cdef class Digests:
    cdef Py_ssize_t _limit
    cdef dict _rows
    cdef dict _by_key
    cdef unsigned long long _marks[256]
    cdef list _recent
    cdef double _next_sweep
    cdef Row _others

    @cython.locals(mark=cython.ulonglong, slot=Py_ssize_t, row=Row)
    cpdef note(self, unsigned long long key, bytes text, Py_ssize_t start, int mode, bytes user, str server,
               bint known, double seconds, long long rows, long long size, bint failed, double now)
