cdef class Load:
    cdef public long long operations
    cdef public long long reads
