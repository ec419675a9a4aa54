import cython

cdef Py_ssize_t _HEADER, _MAX

cdef class PacketReader:
    cdef public Py_ssize_t limit
    cdef readonly bint held
    cdef bytearray _buffer
    cdef Py_ssize_t _scanned
    cdef int _seq
    cdef Py_ssize_t _payload

    @cython.locals(size=Py_ssize_t)
    cpdef bytes feed(self, bytes chunk)
    @cython.locals(buffer=bytearray, length=Py_ssize_t, end=Py_ssize_t)
    cpdef bytes next(self)
    @cython.locals(start=Py_ssize_t, length=Py_ssize_t, seq=int)
    cdef Py_ssize_t _check_header(self) except -1
    cdef bytes _take(self, Py_ssize_t end)
    cpdef bytes take_rest(self)

cdef class UploadReader:
    cdef bytearray _header
    cdef Py_ssize_t _remaining
    cdef bint _continued

    @cython.locals(pos=Py_ssize_t, size=Py_ssize_t, step=Py_ssize_t, take=Py_ssize_t)
    cpdef Py_ssize_t feed(self, bytes chunk) except -2
    @cython.locals(length=Py_ssize_t, ends=bint)
    cdef bint _ends(self) except -1
