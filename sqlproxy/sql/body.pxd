from sqlproxy.sql.lexer cimport Lexer
from sqlproxy.sql.words cimport lookup

cdef unsigned long long CALC_FOUND_ROWS, LOCKING_READ, UNKNOWN, UNSAFE_FUNCTION, USERVAR_READ, USERVAR_WRITE, WRITE
cdef int ASSIGN, BAD, DOT, END, LEFT, NUMBER, QUOTED, RIGHT, SEMICOLON, STRING, SYSVAR, USERVAR, WORD
cdef int AS, CALC, FOR, INTO, LOCKING, NEXT, NOW, OR_CALL, PRIMARY_ONLY, PROCEDURE, SELECTS, SHARE, UPDATE
cdef int VALUE, WITH, WRITES
cdef int W_ANALYSE, W_GLOBAL, W_LOCAL, W_SESSION
cdef unsigned char ACTION_OF[1024]
cdef unsigned char COMPUTES[1024]
cdef unsigned char NEEDS_NO_SPACE[1024]
cdef unsigned long long CALL_MASKS[1024]
cdef unsigned long long VARIABLE_MASKS[1024]


cdef class Body(Lexer):
    cdef readonly unsigned long long mask
    cdef readonly int word, last_kind, last_word, prior_kind, prior_word
    cdef Py_ssize_t last_stop
    cdef int depth, with_depth, reads
    cdef bint pending, computed

    cdef void begin_part(self)
    cpdef int take(self)
    cdef int body(self)
    cdef int opaque(self)
    cdef void finish(self, int kind)
    cdef void note(self, int kind)
    cdef void _call(self)
    cdef bint _is_column_list(self)
    cdef void _act(self, int action)
    cdef void _lock(self, int action, int last)
    cdef void _variable_use(self, int kind)
    cdef void _system_variable_read(self)
