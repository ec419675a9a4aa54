cdef unsigned long long _NEW_TRANSACTION

cpdef bint leaves(unsigned long long mask)
cpdef bint outgrows_replica(unsigned long long mask)
cpdef bint chains(unsigned long long mask)
cpdef bint begins_anew(unsigned long long mask)
