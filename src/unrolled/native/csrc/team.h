/* Work in parts by several threads that need nothing of Python, so that none waits for its lock. */
#ifndef UNROLLED_TEAM_H
#define UNROLLED_TEAM_H

#include <stddef.h>

/* A size, or the address of an array. */
typedef union {
    size_t n;
    void *p;
} team_argument;

/* Things [first, last) of a work, its part `number`. */
typedef void (*team_part)(const team_argument *arguments, size_t number, size_t first, size_t last, void *scratch);

typedef struct {
    team_part part;
    const team_argument *arguments;
    size_t count, parts;  /* so many things, cut into parts of nearly the same size */
    char *scratch;        /* `scratch_bytes` for each member of the team */
    size_t scratch_bytes;
    size_t members, next; /* how many came, and which part is next; zeros at first */
} team_work;

/* Does parts of a team_work until none is left. Each member of a team calls it once; which does what is left to chance, so no
 * result may depend on it. */
void team_member(void *work);

#endif
