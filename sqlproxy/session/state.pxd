import cython

from sqlproxy.session.history cimport History
from sqlproxy.session.transaction cimport begins_anew

cdef unsigned long long _EFFECTS, _FINDS_NOTHING, LAST, NEXT_TRX, SESSION, SHOW, WRITE
cdef int CURSOR, QUERY, _TELLING

# Every attribute is declared: with a dictionary for others, each compiled call would first look for overridden methods.
cdef class SessionState:
    cdef public object database
    cdef public object max_history
    cdef public object context
    cdef public bint free
    cdef public str transaction
    cdef public str last
    cdef public str found
    cdef public object insert_id
    cdef public tuple insert_holder
    cdef public int mode
    cdef public int status
    cdef public bint begun
    cdef public History history
    cdef public dict pins
    cdef public set named
    cdef public bytes next_transaction
    cdef public long long written
    cdef public str written_on
    cdef public dict statements
    cdef public object last_statement
    cdef public object last_prepared
    cdef public dict text_statements
    cdef public set _with_long_data

    @cython.locals(was_open=cython.bint, changed=cython.bint)
    cpdef completed(self, str server, unsigned long long mask, int status, bint failed, bytes command)
    cpdef bint needs(self, unsigned long long mask, int status, str server) except -1
    cpdef note_found(self, str server, unsigned long long mask, int kind)
    cpdef hold_insert_id(self, str server, object thread_id, object insert_id)
    cpdef bint has_insert_id(self, str server, object thread_id) except -1
    cdef _refresh(self, str server)
