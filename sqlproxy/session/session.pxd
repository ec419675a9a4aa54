import cython
from cpython cimport time

cdef class Session  # defined below

from sqlproxy.session.backend cimport Backend, Owner
from sqlproxy.session.client cimport Client
from sqlproxy.session.prepared cimport BackendStatement, PreparedStatement, execute_on, names_statement
from sqlproxy.session.prepared cimport reply_kind, statement_id
from sqlproxy.session.ledger cimport Ledger
from sqlproxy.session.service cimport Service
from sqlproxy.session.state cimport SessionState
from sqlproxy.session.recording cimport TransactionLog
from sqlproxy.sql.familiar cimport classify_shape
from sqlproxy.sql.shape cimport shape_key
from sqlproxy.wire.response cimport ResponseTracker

cdef unsigned long long EFFECTS, FOUND_ROWS, LAST, _LEAVES, LOCKING_READ, _MAY_INSERT, MULTI, _NEEDS_ID, _OPENS, READ
cdef unsigned long long _TOUCHES_ID, UNKNOWN, UNLOCK_TABLES, WRITE
cdef int COM_QUERY, COM_QUIT, COM_STMT_BULK_EXECUTE, COM_STMT_EXECUTE
cdef int SERVER_STATUS_AUTOCOMMIT, SERVER_STATUS_CURSOR_EXISTS
cdef Py_ssize_t HEADER, MAX_PAYLOAD, _NO_BLOCK
cdef long long _SETTLING
cdef int QUERY

# Every attribute is declared: with a dictionary for others, each compiled call would first look for overridden methods.
cdef class Session(Owner):
    cdef public Service service
    cdef public Client client
    cdef public object number
    cdef public object login
    cdef public bytes user
    cdef public SessionState state
    cdef public dict backends
    cdef public bint busy
    cdef public str waiting
    cdef public double started
    cdef public double active_at
    cdef public long long statements
    cdef public double deadline
    cdef public tuple avoid
    cdef public object uploading
    cdef public Backend _current
    cdef public bytes _command
    cdef public unsigned long long _key
    cdef public bytes block
    cdef bint _attributed
    cdef public unsigned long long _mask
    cdef public int _kind
    cdef public PreparedStatement _executing
    cdef public bint _doubtful
    cdef public bint _forwarded
    cdef public long long _sent
    cdef public Py_ssize_t _size
    cdef public bytes _held
    cdef public object _loss
    cdef public TransactionLog log
    cdef public int counts
    cdef public bint _records
    cdef public bint _recording
    cdef public int _conflicts
    cdef public int _losses
    cdef public object _task
    cdef public object hints
    cdef public bint sees_state_changes
    cdef public bint _keeps
    cdef public bint exactly_once
    cdef public bint in_doubt
    cdef public Backend _attending
    cdef public unsigned long long _always_slow
    cdef public unsigned long long _slow
    cdef public object rules
    cdef public object allow_list
    cdef public object tracing
    cdef public object trace
    cdef public long long cleared
    cdef public object ruling
    cdef public tuple _verdict
    cdef public long long seen_written
    cdef public double wrote_at

    @cython.locals(code=cython.int, mask=cython.ulonglong, backend=Backend)
    cpdef command(self, bytes command)
    @cython.locals(code=cython.int, length=Py_ssize_t)
    cdef bytes _plain(self, bytes command)
    @cython.locals(backend=Backend, statement=PreparedStatement, target=BackendStatement, kind=cython.int)
    cdef bint _execute_fast(self, bytes command) except -1
    @cython.locals(state=SessionState, backend=Backend, service=Service, server=str)
    cdef Backend _ready(self, unsigned long long mask)
    @cython.locals(service=Service)
    cpdef str stay(self, str server)
    @cython.locals(state=SessionState)
    cdef bint _must_sync(self, Backend backend) except -1
    @cython.locals(state=SessionState)
    cdef _send(self, Backend backend, bytes command, int kind, unsigned long long mask)
    cdef bint _passes(self, unsigned long long mask, bytes data, Py_ssize_t start) except -1
    @cython.locals(tracker=ResponseTracker)
    cpdef on_reply(self, Backend backend, bytes chunk, bint done)
    @cython.locals(state=SessionState, tracker=ResponseTracker, failed=cython.bint, changed=cython.bint,
                   statement=PreparedStatement, long_data=tuple, now=cython.double)
    cdef _finish(self, Backend backend)
    @cython.locals(tracker=ResponseTracker)
    cdef tuple _finish_executing(self, Backend backend, PreparedStatement statement)
    @cython.locals(state=SessionState, tracker=ResponseTracker, mask=cython.ulonglong, failed=cython.bint)
    cdef _learn(self, Backend backend)
    @cython.locals(state=SessionState)
    cdef bint _speaks_for_session(self, Backend backend) except -1
    @cython.locals(command=bytes)
    cpdef PreparedStatement prepared_at_hand(self)
    cpdef idle(self)
    cdef _idle_since(self, double now)
