from sqlproxy.sql.assignments cimport Assignments

cdef unsigned long long BEGIN, BEGIN_READ_ONLY, DDL, DEALLOCATE_TEXT, DROP_TEMP, EMPTY, HINT, LAST
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
    cpdef unsigned long long run(self)
    cdef unsigned long long _settle(self, unsigned long long total, int parts)
    cdef int _part(self, int kind)
    cdef int _end(self, int kind)
    cdef int _query(self)
    cdef int _form(self, int form)
    cdef int _rare(self, int form)
    cdef int _insert(self)
    cdef int _set(self)
    cdef int _show(self)
    cdef int _analyze(self)
    cdef int _explain(self, int kind, bint runs)
    cdef int _explained(self, int kind, bint runs)
    cdef int _begin(self)
    cdef int _program(self)
    cdef int _start(self)
    cdef int _end_transaction(self)
    cdef int _create(self)
    cdef int _drop(self)
    cdef int _load(self)
    cdef int _flush(self)
    cdef int _backup(self)


cpdef unsigned long long classify(bytes data, Py_ssize_t start=*, int mode=*)
