cimport cython
from sqlproxy.sql.assignments cimport Assignments

cdef unsigned long long BEGIN, BEGIN_READ_ONLY, DDL, DEALLOCATE_TEXT, DROP_TEMP, EMPTY, HINT, LAST, SHOW
cdef unsigned long long LITERAL_ONLY, LOAD_LOCAL, LOCK_TABLES, MULTI, READ, SAVEPOINT, SESSION, TARGETS, TEMP_TABLE
cdef unsigned long long UNKNOWN, UNLOCK_TABLES, USERVAR_WRITE, WRITE
cdef int BAD, EQUAL, LEFT, SEMICOLON, WORD
cdef int FOR, INTO, SELECTS, WITH
cdef int FORM_ANALYZE, FORM_BACKUP, FORM_BEGIN, FORM_CREATE, FORM_DROP, FORM_END
cdef int FORM_EXPLAIN, FORM_FLUSH, FORM_INSERT, FORM_LOAD, FORM_OPAQUE, FORM_PLAIN, FORM_QUERY, FORM_SET
cdef int FORM_SHOW, FORM_START
cdef int W_CHAIN, W_ANALYZE, W_END, W_EXPORT, W_FORMAT, W_HOSTS, W_INDEX, W_LOCAL, W_LOCK, W_NO, W_NO_BINLOG, W_NOT
cdef int W_ONLY, W_PREPARE, W_READ, W_SET, W_STATEMENT, W_TABLE, W_TABLES, W_TEMPORARY, W_TO, W_TRANSACTION
cdef int W_UNLOCK, W_WITH, W_WORK
cdef unsigned char ACTION_OF[1024]
cdef unsigned char IS_CHANGE[1024]
cdef unsigned char IS_EXPLAIN_OPTION[1024]
cdef unsigned char IS_PROGRAM[1024]
cdef unsigned char IS_SHOW_PREFIX[1024]
cdef unsigned char STATEMENT_FORMS[1024]
cdef unsigned long long SHOW_MASKS[1024]
cdef unsigned long long STATEMENT_MASKS[1024]


cdef class Statement(Assignments):
    @cython.locals(total=cython.ulonglong, parts=cython.int, kind=cython.int)
    cpdef unsigned long long run(self) except? 0
    @cython.locals(total=cython.ulonglong)
    cdef unsigned long long _settle(self, unsigned long long total, int parts) noexcept
    @cython.locals(bracketed=cython.bint, form=cython.int, kind=cython.int)
    cdef int _part(self, int kind) noexcept
    cdef int _end(self, int kind) noexcept
    cdef int _query(self) noexcept
    cdef int _form(self, int form) noexcept
    @cython.locals(kind=cython.int)
    cdef int _rare(self, int form) noexcept
    @cython.locals(kind=cython.int)
    cdef int _insert(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _set(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _show(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _analyze(self) noexcept
    @cython.locals(is_format=cython.bint, runs=cython.bint, kind=cython.int)
    cdef int _explain(self, int kind, bint runs) noexcept
    @cython.locals(action=cython.int)
    cdef int _explained(self, int kind, bint runs) noexcept
    @cython.locals(kind=cython.int)
    cdef int _begin(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _program(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _start(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _end_transaction(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _create(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _drop(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _load(self) noexcept
    @cython.locals(kind=cython.int)
    cdef int _flush(self) noexcept
    @cython.locals(kind=cython.int, released=cython.bint)
    cdef int _backup(self) noexcept


cdef Statement _READER

@cython.locals(mask=cython.ulonglong)
cpdef unsigned long long classify(bytes data, Py_ssize_t start=*, int mode=*) except? 0
