from libc.stdint cimport uint32_t

from sqlproxy.session.ports cimport Receiver, Writer
from sqlproxy.session.ring cimport SENDS, Ring

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef class Lane:
    cdef object __weakref__
    cdef int _epoll
    cdef int _luck  # with looking again: rises when something was found, falls when not
    cdef epoll_event _events[256]
    cdef unsigned char *_buffer
    cdef set _sockets
    cdef Ring _ring
    cdef bint _gathering  # whether what is written now is sent together
    cdef void *_gathered[SENDS]  # sockets; they live until the loop's next turn
    cdef int _count

    cdef int _serve(self, int count) except -1
    cdef bint _gather(self, Socket sock) noexcept
    cdef int _send(self) except -1
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
    cdef bint _refused  # whether something that was written is not sent
    cdef bint _full
    cdef bint _together  # whether all that waits is sent with what others write, before the batch ends
    cdef bytes _chunk  # the first that waits, sent up to _offset
    cdef object _pending  # what follows it
    cdef Py_ssize_t _offset
    cdef Py_ssize_t _waiting
    cdef Py_ssize_t _high
    cdef Py_ssize_t _at_most

    cpdef write(self, bytes data)
    cdef int _join(self, bytes data) except -1
    cdef int _send_apart(self) except -1
    cdef int _keep(self, bytes data, Py_ssize_t sent) except -1
    cdef int _check(self) except -1
    cdef int _sent(self, Py_ssize_t sent) except -1
    cdef int _advance(self, Py_ssize_t sent) except -1
    cdef int _ready(self, uint32_t events) except -1
    cdef int _receive(self) except -1
    cdef int _flush(self) except -1
    cdef int _failed(self, object error) except -1
    cdef int _end(self, object reason) except -1
    cdef int _update(self) except -1
