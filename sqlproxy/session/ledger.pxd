import cython
from cpython cimport time

cdef class Ledger  # defined below

from sqlproxy.session.backend cimport Backend
from sqlproxy.session.digests cimport Digests
from sqlproxy.session.prepared cimport PreparedStatement
from sqlproxy.session.session cimport Session
from sqlproxy.sql.shape cimport shape_key
from sqlproxy.wire.response cimport ResponseTracker

cdef unsigned long long UNKNOWN, WRITE
cdef int COM_QUERY
cdef Py_ssize_t HEADER

cdef class Ledger:
    cdef readonly Digests digests
    cdef readonly object unknown
    cdef readonly object log
    cdef double _slow_after
    cdef bint _logs_errors

    @cython.locals(tracker=ResponseTracker, now=cython.double, seconds=cython.double)
    cpdef double enter(self, Session session, Backend backend, PreparedStatement statement, bint failed) except -1
    @cython.locals(text=bytes, mode=cython.int, start=Py_ssize_t, key=cython.ulonglong, known=cython.bint,
                   user=bytes, size=Py_ssize_t)
    cdef _count(self, Session session, str server, PreparedStatement statement, double seconds, long long rows,
                bint failed, double now)
