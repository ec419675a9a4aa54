"""Plain sockets without an event loop's transports between them and their protocols: one epoll set inside the loop.

The loop watches the set's own descriptor; when it is ready, ``Lane.poll`` receives from every socket that has something
into one shared buffer and hands it to the socket's protocol. What is written is sent at once; only what the peer does
not take yet is kept. A ``Socket`` is an ``asyncio.Transport`` in all but name, and behaves as one.
"""

import asyncio
import os
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t

from sqlproxy.session.ports cimport Receiver, Writer

cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
        EPOLL_CTL_MOD
        EPOLLERR
        EPOLLHUP
        EPOLLIN
        EPOLLOUT
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)

cdef extern from "sys/socket.h" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
    ssize_t recv(int sockfd, void *buf, size_t len, int flags)
    ssize_t send(int sockfd, const void *buf, size_t len, int flags)

cdef enum:
    BATCH = 256  # events taken at once
    PASSES = 8  # times the set is looked at again before the loop gets its turn
    BUFFER = 262144  # bytes received at once
    HIGH = 65536  # bytes waiting for the peer before the protocol is told, as asyncio has it

cdef object _lanes = None  # event loop → its lane


def lane_of(loop):
    """The lane of an event loop, made with its first socket. Raises OSError."""
    global _lanes
    if _lanes is None:
        import weakref

        _lanes = weakref.WeakKeyDictionary()
    lane = _lanes.get(loop)
    if lane is None:
        lane = _lanes[loop] = Lane()
        loop.add_reader(lane.fileno(), lane.poll)
    return lane


cdef class Lane:
    """One epoll set and the sockets in it."""

    def __cinit__(self):
        self._epoll = -1
        self._buffer = NULL

    def __init__(self):
        self._sockets = set()
        self._buffer = <unsigned char *>PyMem_Malloc(BUFFER)
        if self._buffer == NULL:
            raise MemoryError
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self._epoll >= 0:
            os.close(self._epoll)
        PyMem_Free(self._buffer)

    def fileno(self):
        """The set's own descriptor, readable when any of its sockets is ready."""
        return self._epoll

    def adopt(self, sock, protocol, Py_ssize_t at_most=0):
        """Own a connected, non-blocking socket from now on, for ``protocol``; its Socket. Raises OSError.

        ``at_most`` as in ``Socket.receive_at_most``.
        """
        cdef Socket adopted = Socket(self, sock, protocol)
        adopted.receive_at_most(at_most)
        self._sockets.add(adopted)
        protocol.connection_made(adopted)
        adopted._update()
        return adopted

    def poll(self):
        """Serve every socket that is ready; again at once while there were several, as more may have come meanwhile."""
        cdef int count, index
        cdef int passes = 0
        while passes < PASSES:
            count = epoll_wait(self._epoll, self._events, BATCH, 0)
            for index in range(count):
                # a socket that is closed meanwhile lives on until the loop's next turn
                (<Socket>self._events[index].data.ptr)._ready(self._events[index].events)
            if count <= 1:
                return
            passes += 1

    cdef int _watch(self, Socket sock, uint32_t events) except -1:
        """Without any event a socket leaves the set: it would report errors for ever."""
        cdef epoll_event event
        cdef int operation = EPOLL_CTL_MOD
        if events == sock._watched:
            return 0
        if not events:
            operation = EPOLL_CTL_DEL
        elif not sock._watched:
            operation = EPOLL_CTL_ADD
        event.events = events
        event.data.ptr = <void *>sock
        sock._watched = events
        if epoll_ctl(self._epoll, operation, sock._fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        return 0


cdef class Socket(Writer):
    """A connected socket and its protocol."""

    def __init__(self, Lane lane, sock, protocol):
        self._lane = lane
        self._sock = sock
        self._fd = sock.fileno()
        self._pending = deque()
        self._high = HIGH
        self._at_most = BUFFER
        self.set_protocol(protocol)

    def set_protocol(self, protocol):
        """Who is told from now on."""
        self._protocol = protocol
        self._receiver = protocol if isinstance(protocol, Receiver) else None

    def get_protocol(self):
        """Who is told now."""
        return self._protocol

    def get_extra_info(self, name, default=None):
        """As a transport's: ``socket`` and ``peername``."""
        if name == "socket":
            return self._sock
        if name == "peername":
            return self._sock.getpeername()
        return default

    # -- sending

    cpdef write(self, bytes data):
        """Send at once; what the peer does not take yet is kept."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t sent = 0
        if self._closing or not size:
            return
        if not self._waiting:
            sent = send(self._fd, PyBytes_AS_STRING(data), size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == size:
                return
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self._end(OSError(errno, os.strerror(errno)))
                    return
                sent = 0
        self._keep(data, sent)

    cdef int _keep(self, bytes data, Py_ssize_t sent) except -1:
        if not self._waiting:
            self._offset = sent
        self._pending.append(data)
        self._waiting += PyBytes_GET_SIZE(data) - sent
        self._update()
        if self._waiting > self._high and not self._full:
            self._full = True
            self._protocol.pause_writing()
        return 0

    cdef int _flush(self) except -1:
        """Send what was kept, as far as the peer takes it."""
        cdef bytes data
        cdef Py_ssize_t size, sent
        while self._waiting:
            data = self._pending[0]
            size = PyBytes_GET_SIZE(data) - self._offset
            sent = send(self._fd, PyBytes_AS_STRING(data) + self._offset, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self._end(OSError(errno, os.strerror(errno)))
                    return 0
                break
            self._waiting -= sent
            if sent < size:
                self._offset += sent
                break
            self._offset = 0
            self._pending.popleft()
        if self._closing and not self._waiting:
            self._end(None)
            return 0
        self._update()
        if self._full and self._waiting <= self._high // 4:
            self._full = False
            self._protocol.resume_writing()
        return 0

    def set_write_buffer_limits(self, high=None, low=None):
        """The protocol is paused with more than ``high`` bytes waiting, and goes on at a quarter of it."""
        self._high = HIGH if high is None else high

    def get_write_buffer_size(self):
        """Bytes waiting for the peer."""
        return self._waiting

    # -- receiving

    cdef int _ready(self, uint32_t events) except -1:
        if events & EPOLLOUT and self._watched & EPOLLOUT:
            self._flush()
        if events & (EPOLLIN | EPOLLHUP | EPOLLERR) and self._watched & EPOLLIN:
            self._receive()
        return 0

    cdef int _receive(self) except -1:
        cdef bytes chunk
        cdef ssize_t size = recv(self._fd, self._lane._buffer, self._at_most, MSG_DONTWAIT)
        if size < 0:
            if errno != EAGAIN and errno != EINTR:
                self._end(OSError(errno, os.strerror(errno)))
            return 0
        try:
            if not size:
                if not self._protocol.eof_received():
                    self.close()
                return 0
            chunk = PyBytes_FromStringAndSize(<char *>self._lane._buffer, size)
            if self._receiver is not None:
                self._receiver.data_received(chunk)
            else:
                self._protocol.data_received(chunk)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a protocol failed", "exception": error, "transport": self, "protocol": self._protocol}
            )
            self._end(error)
        return 0

    def receive_at_most(self, Py_ssize_t size):
        """Take in no more bytes than that at once; 0: as many as there is room for."""
        self._at_most = size if 0 < size < BUFFER else BUFFER

    def detach(self):
        """The socket, for another transport; the protocol hears no more of this one.

        Raises OSError when it is closed, or what was written is still on its way.
        """
        if self._sock is None or self._waiting:
            raise OSError("the connection is closed, or its peer does not read")
        sock = self._sock
        self._closing = True
        self._update()
        self._sock = None
        asyncio.get_running_loop().call_soon(self._lane._sockets.discard, self)  # as at the end
        return sock

    def pause_reading(self):
        """Receive nothing until ``resume_reading``."""
        self._paused = True
        self._update()

    def resume_reading(self):
        """Receive again."""
        self._paused = False
        self._update()

    def is_reading(self):
        """Whether bytes are taken in."""
        return not self._paused and not self._closing

    cdef int _update(self) except -1:
        """Watch for what is of use now."""
        cdef uint32_t events = 0
        if not self._paused and not self._closing:
            events = EPOLLIN
        if self._waiting:
            events |= EPOLLOUT
        if self._sock is not None and events != self._watched:
            self._lane._watch(self, events)
        return 0

    # -- the end

    def is_closing(self):
        """No more is sent or received."""
        return self._closing

    def close(self):
        """Receive no more, and end after what was written has been sent."""
        if self._closing:
            return
        self._closing = True
        if self._waiting:
            self._update()
        else:
            self._end(None)

    def abort(self):
        """End at once; what was kept is dropped."""
        self._end(None)

    cdef int _end(self, object reason) except -1:
        """The protocol learns of the end, and the socket is closed, in the loop's next turn."""
        if self._sock is None:
            return 0
        self._closing = True
        self._waiting = 0
        self._pending.clear()
        self._update()
        asyncio.get_running_loop().call_soon(self._finish, self._sock, reason)
        self._sock = None
        return 0

    def _finish(self, sock, reason):
        try:
            self._protocol.connection_lost(reason)
        finally:
            self._lane._sockets.discard(self)
            sock.close()
