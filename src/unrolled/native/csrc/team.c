#include "team.h"

void team_member(void *work) {
    team_work *w = work;
    size_t member = __atomic_fetch_add(&w->members, 1, __ATOMIC_RELAXED);
    for (size_t part; (part = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED)) < w->parts;)
        w->part(w->arguments, part, w->count * part / w->parts, w->count * (part + 1) / w->parts,
                w->scratch + member * w->scratch_bytes);
}
