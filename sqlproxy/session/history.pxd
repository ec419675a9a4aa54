cdef class History:
    cdef public list entries
    cdef public long long position
    cdef public long long kept
