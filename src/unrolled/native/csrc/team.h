/* Work in parts, shared by threads that do not use Python and therefore never wait for its lock. */
#ifndef UNROLLED_TEAM_H
#define UNROLLED_TEAM_H

#include <stddef.h>

/* A size, or the address of an array. */
typedef union {
    size_t n;
    void *p;
} team_argument;

/* Part `number` of some work: its items [first, last). */
typedef void (*team_part)(const team_argument *arguments, size_t number, size_t first, size_t last, void *scratch);

typedef struct {
    team_part part;
    const team_argument *arguments;
    size_t count, parts;  /* number of items, and of parts of nearly equal size */
    char *scratch;        /* `scratch_bytes` for each member of the team */
    size_t scratch_bytes;
    size_t members, next; /* members so far, and the next part; initially 0 */
} team_work;

/* Processes parts of a team_work until none is left. Each member of a team calls it once. Which member takes which part is
 * nondeterministic, so no result may depend on it. */
void team_member(void *work);

#endif
