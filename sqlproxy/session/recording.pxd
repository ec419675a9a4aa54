import cython

cdef class TransactionLog  # defined below

from sqlproxy.session.backend cimport Backend
from sqlproxy.session.prepared cimport PreparedStatement
from sqlproxy.session.session cimport Session
from sqlproxy.session.state cimport SessionState
from sqlproxy.session.transaction cimport begins_anew, chains
from sqlproxy.wire.checksum cimport Checksum
from sqlproxy.wire.response cimport ResponseTracker

cdef unsigned long long OPAQUE
cdef Py_ssize_t HEADER, _OVERHEAD
cdef int COM_STMT_FETCH, CURSOR, ER_LOCK_DEADLOCK, QUERY

cdef class Step:
    cdef readonly bytes command
    cdef readonly int kind
    cdef readonly unsigned long long mask
    cdef readonly bytes digest
    cdef readonly unsigned long long insert_id
    cdef readonly PreparedStatement statement
    cdef readonly bytes types
    cdef readonly tuple long_data
    cdef readonly bytes block

cdef class TransactionLog:
    cdef public Py_ssize_t max_size
    cdef public list steps
    cdef public Py_ssize_t size
    cdef public str reason
    cdef public bytes prelude
    cdef public long long position
    cdef public object insert_id
    cdef long long _found_position
    cdef bytes _found_prelude
    cdef object _found_insert_id
    cdef bint _found_open

    @cython.locals(state=SessionState)
    cpdef expect(self, Session session, Backend backend)
    @cython.locals(state=SessionState, tracker=ResponseTracker, checksum=Checksum, kind=int, command=bytes, mask=cython.ulonglong)
    cpdef take(self, Session session, Backend backend, PreparedStatement statement, tuple long_data)
    cpdef begin(self, long long position, bytes prelude, object insert_id)
    cpdef record(self, Step step)
    cpdef forbid(self, str reason)
    cpdef clear(self)
