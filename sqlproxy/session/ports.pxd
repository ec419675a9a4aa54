cdef class Receiver:
    cpdef data_received(self, bytes chunk)

cdef class Writer:
    cpdef write(self, bytes data)
