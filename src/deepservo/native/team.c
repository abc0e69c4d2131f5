/* Threads share the work of one call: each takes the next part until none is left, so that a busy
 * core takes fewer. */
#include <stdint.h>

typedef struct {
    void (*work)(const void *arguments, int64_t begin, int64_t end);
    const void *arguments;
    int64_t count, parts, next;
} Team;

/* What every thread of a team runs. */
void team_member(void *of) {
    Team *team = of;
    int64_t part;
    while ((part = __atomic_fetch_add(&team->next, 1, __ATOMIC_RELAXED)) < team->parts)
        team->work(team->arguments, team->count * part / team->parts,
                   team->count * (part + 1) / team->parts);
}
