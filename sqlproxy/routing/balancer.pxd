import cython

from sqlproxy.routing.base cimport Load

cdef class Candidate:
    cdef public str name
    cdef public double weight
    cdef public Load load

cpdef str pick(candidates, loads, str last)
@cython.locals(best=str, candidate=Candidate, limit=cython.double, room=cython.double, best_share=cython.double,
               share=cython.double)
cpdef str pick_of(tuple candidates, str last)
