cdef Py_ssize_t _SHORT

cdef class Checksum:
    cdef bytes _bytes
    cdef object _hash

    cpdef update(self, bytes data)
    cpdef bytes digest(self)
