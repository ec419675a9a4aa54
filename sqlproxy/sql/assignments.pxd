cimport cython
from sqlproxy.sql.body cimport Body
from sqlproxy.sql.words cimport lookup

cdef unsigned long long AUTOCOMMIT_OFF, AUTOCOMMIT_ON, AUTOCOMMIT_UNKNOWN, DDL, LITERAL_ONLY, NEXT_TRX, SET_CHARSET
cdef unsigned long long SET_GLOBAL, SQL_MODE, UNKNOWN, USERVAR_WRITE, WRITE
cdef int ASSIGN, BAD, COMMA, DOT, EQUAL, NUMBER, QUOTED, SEMICOLON, STRING, SYSVAR, USERVAR, WORD
cdef int W_AUTOCOMMIT, W_SQL_MODE, W_TRACKING, W_ON, W_TRUE, W_OFF, W_FALSE
cdef int H_VARIABLE, H_SESSION, H_GLOBAL, H_CHARSET, H_TRANSACTION, H_ACCOUNT, H_ROLE, H_SERVER
cdef int S_DEFAULT, S_NEXT, S_SESSION, S_GLOBAL, S_STICKY
cdef unsigned char HEADS[1024]
cdef unsigned char IS_CHARSET[1024]
cdef unsigned char IS_TRANSACTION[1024]
cdef unsigned char IS_USED_UP[1024]


cdef class Assignments(Body):
    cdef int scope
    cdef unsigned long long switch

    cdef int assignments(self, int kind) noexcept
    @cython.locals(head=cython.int)
    cdef int _assignment(self, int kind) noexcept
    @cython.locals(kind=cython.int)
    cdef int _scoped(self, int scope) noexcept
    cdef int _transaction(self, int scope) noexcept
    @cython.locals(kind=cython.int)
    cdef int _rest(self, bint commas) noexcept
    @cython.locals(scope=cython.int, head=cython.int, word=cython.int)
    cdef int _at_variable(self) noexcept
    @cython.locals(word=cython.int, kind=cython.int)
    cdef int _named_variable(self, int kind, int scope) noexcept
    @cython.locals(end=cython.int)
    cdef int _variable_to(self, int word, int scope, int kind) noexcept
    @cython.locals(count=cython.int, kind=cython.int)
    cdef int _value(self, int kind) noexcept
    @cython.locals(word=cython.int, digit=cython.int)
    cdef unsigned long long _switch_of(self, int kind) noexcept
