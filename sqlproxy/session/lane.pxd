from libc.stdint cimport uint32_t

from sqlproxy.session.ports cimport Receiver, Writer

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef class Lane:
    cdef object __weakref__
    cdef int _epoll
    cdef epoll_event _events[256]
    cdef unsigned char *_buffer
    cdef set _sockets

    cdef int _watch(self, Socket sock, uint32_t events) except -1

cdef class Socket(Writer):
    cdef Lane _lane
    cdef object _sock
    cdef object _protocol
    cdef Receiver _receiver
    cdef int _fd
    cdef uint32_t _watched
    cdef bint _paused
    cdef bint _closing
    cdef bint _full
    cdef object _pending
    cdef Py_ssize_t _offset
    cdef Py_ssize_t _waiting
    cdef Py_ssize_t _high
    cdef Py_ssize_t _at_most

    cpdef write(self, bytes data)
    cdef int _keep(self, bytes data, Py_ssize_t sent) except -1
    cdef int _ready(self, uint32_t events) except -1
    cdef int _receive(self) except -1
    cdef int _flush(self) except -1
    cdef int _end(self, object reason) except -1
    cdef int _update(self) except -1
