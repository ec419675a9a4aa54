"""Plain sockets without an event loop's transports between them and their protocols: one epoll set inside the loop.

The loop watches the set's own descriptor; when it is ready, ``Lane.poll`` receives from every socket that has something
into one shared buffer and hands it to the socket's protocol. What is written is sent at once, or, where there is a
``Ring`` and several sockets are ready, by one system call with what the others write; only what the peer does not take
yet is kept. A ``Socket`` is an ``asyncio.Transport`` in all but name, and behaves as one.
"""

import asyncio
import os
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EAGAIN, EINTR, EPIPE, errno
from libc.stdint cimport uint32_t

from sqlproxy.session.ports cimport Receiver, Writer
from sqlproxy.session.ring cimport SENDS, Ring

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

cdef extern from "unistd.h" nogil:
    int close_descriptor "close" (int fd)

cdef extern from "sys/socket.h" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
    ssize_t recv(int sockfd, void *buf, size_t len, int flags)
    ssize_t send(int sockfd, const void *buf, size_t len, int flags)

cdef enum:
    BATCH = 256  # events taken at once
    LUCK = 8  # the most that is remembered of how often it helped
    PASSES = 8  # times the set is looked at again before the loop gets its turn
    BUFFER = 262144  # bytes received at once
    HIGH = 65536  # bytes waiting for the peer before the protocol is told, as asyncio has it
    ENOUGH = 32  # sockets whose bytes are sent together: the peers need not wait for more
    SMALL = 8192  # bytes of a socket that may wait for what others write

cdef object _lanes = None  # event loop → its lane


def ring_refused():
    """Why this system gives no ``Ring`` that works; "" when it does."""
    try:
        Ring().check()
    except OSError as error:
        return f"io_uring: {error.strerror}"
    return ""


def lane_of(loop, ring):
    """The lane of an event loop, made with its first socket; ``ring``: whether with a Ring. Raises OSError."""
    global _lanes
    if _lanes is None:
        import weakref

        _lanes = weakref.WeakKeyDictionary()
    lane = _lanes.get(loop)
    if lane is None:
        lane = _lanes[loop] = Lane(Ring() if ring else None)
        loop.add_reader(lane.fileno(), lane.poll)
    return lane


cdef class Lane:
    """One epoll set and the sockets in it."""

    def __cinit__(self):
        self._epoll = -1
        self._buffer = NULL

    def __init__(self, Ring ring=None):
        self._sockets = set()
        self._ring = ring
        self._buffer = <unsigned char *>PyMem_Malloc(BUFFER)
        if self._buffer == NULL:
            raise MemoryError
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self._epoll >= 0:
            close_descriptor(self._epoll)  # at the interpreter's end there may be no modules any more
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
        """Serve every socket that is ready; again at once while there were several, as more may have come meanwhile.

        After a single one only where looking again has found something of late: it spares the loop a turn, or is in vain.
        """
        cdef int count
        cdef int passes = 0
        while passes < PASSES:
            count = epoll_wait(self._epoll, self._events, BATCH, 0)
            if passes:
                self._luck = min(self._luck + 1, LUCK) if count > 0 else max(self._luck - 1, 0)
            try:
                self._serve(count)
            finally:
                self._send()
            if count <= 0 or (count == 1 and self._luck < LUCK // 2):
                return
            passes += 1

    cdef int _serve(self, int count) except -1:
        cdef bint several = count > 1 and self._ring is not None
        cdef int index
        for index in range(count):
            self._gathering = several
            # a socket that is closed meanwhile lives on until the loop's next turn
            (<Socket>self._events[index].data.ptr)._ready(self._events[index].events)
            if self._count >= ENOUGH:
                self._send()
        return 0

    cdef bint _gather(self, Socket sock) noexcept:
        """Whether what a socket has written is sent with what others write."""
        if not self._gathering or self._count == SENDS:
            return False
        self._gathered[self._count] = <void *>sock
        self._count += 1
        return True

    cdef int _send(self) except -1:
        """Send what was gathered."""
        cdef int index
        cdef int count = 0
        cdef Socket sock
        self._gathering = False
        for index in range(self._count):
            sock = <Socket>self._gathered[index]
            if sock._together:  # else it has been sent meanwhile
                sock._together = False
                self._gathered[count] = <void *>sock
                count += 1
        self._count = 0
        if count == 1:
            sock = <Socket>self._gathered[0]
            return sock._flush()
        for index in range(count):
            sock = <Socket>self._gathered[index]
            self._ring.add(sock._fd, PyBytes_AS_STRING(sock._chunk), PyBytes_GET_SIZE(sock._chunk))
        if count:
            self._ring.send()
        for index in range(count):
            (<Socket>self._gathered[index])._sent(self._ring.results[index])
        return 0

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
        if epoll_ctl(self._epoll, operation, sock._fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        sock._watched = events
        return 0


cdef class Socket(Writer):
    """A connected socket and its protocol, which learns by a ``BrokenPipeError`` that not all it has written was sent."""

    def __init__(self, Lane lane, sock, protocol):
        self._lane = lane
        self._sock = sock
        self._fd = sock.fileno()
        self._chunk = None
        self._pending = None
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
        """Send now or with what others write in this batch; what the peer does not take yet is kept."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t sent = 0
        if self._closing:
            self._refused = True
            return
        if not size:
            return
        if self._together:
            self._join(data)
            return
        if not self._waiting:
            if size <= SMALL and self._lane._gather(self):
                self._together = True
                self._chunk = data
                self._waiting = size
                return
            sent = send(self._fd, PyBytes_AS_STRING(data), size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == size:
                return
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self._waiting = size
                    self._end(OSError(errno, os.strerror(errno)))
                    return
                sent = 0
        self._keep(data, sent)
        self._update()
        self._check()

    cdef int _join(self, bytes data) except -1:
        """Send more with what this socket has written in this batch, or that at once when it is much."""
        if self._waiting + PyBytes_GET_SIZE(data) <= SMALL:
            self._chunk += data
            self._waiting += PyBytes_GET_SIZE(data)
            return 0
        self._send_apart()
        self.write(data)
        return 0

    cdef int _send_apart(self) except -1:
        """Send now what was to be sent with what others write."""
        if self._together:
            self._together = False
            self._flush()
        return 0

    cdef int _keep(self, bytes data, Py_ssize_t sent) except -1:
        if not self._waiting:
            self._chunk = data
            self._offset = sent
        else:
            if self._pending is None:
                self._pending = deque()
            self._pending.append(data)
        self._waiting += PyBytes_GET_SIZE(data) - sent
        return 0

    cdef int _check(self) except -1:
        """Tell the protocol when too much waits, and when that is over."""
        if not self._full and self._waiting > self._high:
            self._full = True
            self._protocol.pause_writing()
        elif self._full and self._waiting <= self._high // 4:
            self._full = False
            self._protocol.resume_writing()
        return 0

    cdef int _sent(self, Py_ssize_t sent) except -1:
        """What became of bytes that were sent together: how many the peer took, or minus an errno."""
        if self._sock is None:
            return 0
        if sent == self._waiting:
            self._chunk = None
            self._waiting = 0
            if self._closing:
                self._end(None)
            return 0
        try:
            if sent < 0 and -sent != EAGAIN:
                self._end(OSError(-sent, os.strerror(-sent)))
                return 0
            if sent > 0:
                self._advance(sent)
            self._flush()
        except Exception as error:
            self._failed(error)
        return 0

    cdef int _advance(self, Py_ssize_t sent) except -1:
        """The peer took so much of the first chunk."""
        self._waiting -= sent
        self._offset += sent
        if self._offset == PyBytes_GET_SIZE(self._chunk):
            self._offset = 0
            self._chunk = self._pending.popleft() if self._pending else None
        return 0

    cdef int _flush(self) except -1:
        """Send what was kept, as far as the peer takes it."""
        cdef Py_ssize_t size, sent
        while self._waiting:
            size = PyBytes_GET_SIZE(self._chunk) - self._offset
            sent = send(self._fd, PyBytes_AS_STRING(self._chunk) + self._offset, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self._end(OSError(errno, os.strerror(errno)))
                    return 0
                break
            self._advance(sent)
            if sent < size:
                break
        if self._closing and not self._waiting:
            self._end(None)
            return 0
        self._update()
        return self._check()

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
            self._failed(error)
        return 0

    cdef int _failed(self, object error) except -1:
        """The protocol made a mistake."""
        asyncio.get_running_loop().call_exception_handler(
            {"message": "a protocol failed", "exception": error, "transport": self, "protocol": self._protocol}
        )
        return self._end(error)

    def receive_at_most(self, Py_ssize_t size):
        """Take in no more bytes than that at once; 0: as many as there is room for."""
        self._at_most = size if 0 < size < BUFFER else BUFFER

    def detach(self):
        """The socket, for another transport; the protocol hears no more of this one.

        Raises OSError when it is closed, or what was written is still on its way.
        """
        self._send_apart()
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
        if self._waiting and not self._together:
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
        """End at once; what the peer has not taken is dropped."""
        self._send_apart()
        self._end(None)

    cdef int _end(self, object reason) except -1:
        """The protocol learns of the end, and the socket is closed, in the loop's next turn."""
        if self._sock is None:
            return 0
        self._closing = True
        self._refused = self._refused or self._waiting > 0
        self._waiting = 0
        self._chunk = self._pending = None
        self._update()
        asyncio.get_running_loop().call_soon(self._finish, self._sock, reason)
        self._sock = None
        return 0

    def _finish(self, sock, reason):
        if reason is not None and self._refused:
            reason = BrokenPipeError(EPIPE, os.strerror(EPIPE))
        try:
            self._protocol.connection_lost(reason)
        finally:
            self._lane._sockets.discard(self)
            sock.close()
