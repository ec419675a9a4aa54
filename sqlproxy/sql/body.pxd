cimport cython
from sqlproxy.sql.lexer cimport Lexer
from sqlproxy.sql.words cimport lookup

cdef unsigned long long CALC_FOUND_ROWS, LOCKING_READ, UNKNOWN, UNSAFE_FUNCTION, USERVAR_READ, USERVAR_WRITE, WRITE
cdef int ASSIGN, BAD, DOT, END, LEFT, NUMBER, QUOTED, RIGHT, SEMICOLON, STRING, SYSVAR, USERVAR, WORD
cdef int AS, CALC, FOR, INTO, LOCKING, NEXT, NOW, OR_CALL, PRIMARY_ONLY, PROCEDURE, SELECTS, SHARE, UPDATE
cdef int VALUE, WITH, WRITES
cdef int W_ANALYSE, W_FROM, W_GLOBAL, W_JOIN, W_JSON_TABLE, W_LOCAL, W_SESSION
cdef unsigned char ACTION_OF[1024]
cdef unsigned char COMPUTES[1024]
cdef unsigned char LACKED_BY[1024]
cdef unsigned char NEEDS_NO_SPACE[1024]
cdef unsigned long long CALL_MASKS[1024]
cdef unsigned long long VARIABLE_MASKS[1024]


cdef class Body(Lexer):
    # What take() copies one after the other does not lie side by side: the C compiler would move both at once, and
    # reading two fields just written one by one stalls the processor.
    cdef readonly unsigned long long mask
    cdef Py_ssize_t last_start
    cdef readonly Py_ssize_t unsafe_start
    cdef Py_ssize_t last_stop
    cdef readonly Py_ssize_t unsafe_stop
    cdef readonly int word
    cdef int depth
    cdef readonly int last_kind
    cdef int with_depth
    cdef readonly int last_word
    cdef int reads
    cdef readonly int prior_kind
    cdef bint pending
    cdef readonly int prior_word
    cdef bint computed

    cdef void open(self) noexcept
    cdef void begin_part(self) noexcept
    @cython.locals(kind=cython.int, word=cython.int)
    cpdef int take(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int body(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int opaque(self) noexcept
    cdef void finish(self, int kind) noexcept
    @cython.locals(action=cython.int)
    cdef void note(self, int kind) noexcept
    @cython.locals(word=cython.int, mask=cython.ulonglong)
    cdef void _call(self) noexcept
    cdef void _unsafe(self) noexcept
    @cython.locals(kind=cython.int, action=cython.int)
    cdef bint _is_column_list(self) noexcept
    @cython.locals(last=cython.int)
    cdef void _act(self, int action) noexcept
    cdef void _lock(self, int action, int last) noexcept
    cdef void _variable_use(self, int kind) noexcept
    @cython.locals(kind=cython.int, named=cython.bint)
    cdef bint _is_host(self) noexcept
    @cython.locals(word=cython.int)
    cdef void _system_variable_read(self) noexcept
