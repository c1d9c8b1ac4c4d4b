/* One part of each kind of work, for `team_member`; included last by `lstm.c`, once for each kind of operands.
 *
 * Arguments: those of the function of the same name in their order, without first, last and scratch; see PARTS in `team.py`.
 */
#undef PART
#define PART(f) void NAME(f##_part)(const team_argument *a, size_t number, size_t first, size_t last, void *scratch)

PART(operands) {
    (void)number, (void)scratch;
    NAME(operands)(a[0].n, first, last, a[1].p, a[2].p);
}
PART(pack) {
    (void)number, (void)scratch;
    NAME(pack)(a[0].n, a[1].n, (int)a[2].n, a[3].n, first, last, a[4].p, a[5].n, a[6].n, a[7].p);
}
PART(product) {
    (void)number;
    NAME(product)(a[0].n, a[1].n, first, last, a[2].p, a[3].p, a[4].p, a[5].p, scratch);
}
PART(transposed_product) { /* by groups, with all their rows */
    (void)number;
    NAME(transposed_product)(a[0].n, a[1].n, a[2].n, first, last, 0, a[1].n, a[3].p, a[4].n, a[5].p, a[6].n, a[7].p, a[8].p,
                             a[9].p, scratch);
}
PART(transposed_product_rows) { /* by rows, in all groups, without ids and sums */
    (void)number;
    NAME(transposed_product)(a[0].n, a[1].n, a[2].n, 0, NAME(packed_groups)(a[2].n), first, last, a[3].p, a[4].n, a[5].p,
                             a[6].n, NULL, NULL, a[7].p, scratch);
}
PART(side_by_side) { /* scale: a float in memory */
    (void)number, (void)scratch;
    NAME(side_by_side)(a[0].n, a[1].n, (int)a[2].n, a[3].n, first, last, a[4].p, *(const float *)a[5].p, a[6].p);
}
PART(cross_entropy) { /* scale: a float in memory; d_bias and nats: one entry per part */
    float *logits = scratch, *d_bias = (float *)a[10].p + number * a[1].n;
    ((double *)a[11].p)[number] = NAME(cross_entropy)(a[0].n, a[1].n, first, last, a[2].p, a[3].p, a[4].p, a[5].p, a[6].p,
                                                      *(const float *)a[7].p, a[8].p, a[9].p, d_bias, logits,
                                                      (operand *)(logits + NAME(cross_entropy_logits)(a[1].n)));
}
#if !BFLOAT16
PART(orthogonal) {
    (void)number;
    NAME(orthogonal)(a[0].n, a[1].n, a[2].n, first, last, a[3].p, a[4].p, a[5].p, scratch);
}
#endif
PART(lstm_forward) {
    (void)number;
    NAME(lstm_forward)(a[0].n, a[1].n, a[2].n, first, last, a[3].p, a[4].p, a[5].p, a[6].p, a[7].p, a[8].p, a[9].p, a[10].p,
                       a[11].p, scratch);
}
PART(lstm_backward) {
    (void)number;
    NAME(lstm_backward)(a[0].n, a[1].n, a[2].n, first, last, a[3].p, a[4].p, a[5].p, a[6].p, a[7].p, a[8].p, a[9].p, a[10].p,
                        scratch);
}
