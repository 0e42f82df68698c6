/*
 * rows.c - a matrix whose rows are objects of their own, read column by column.
 *
 * Source: vectors of vectors, in naive products of matrices, dynamic programs and tables; and
 * Afek, Dice & Morrison, "Cache index-aware memory allocation", ISMM 2011.
 *
 * Rows of `row` bytes are taken and filled. Timed is only what follows: the same place of
 * each row is read, one after the other, then the next place, again and again. Where an
 * allocator lays objects of that size at the same place of their pages, these reads have a
 * few sets of a cache for all rows. No call of the allocator is in it.
 */
#include "harness.h"

enum { ROWS, BYTES, READS, VERIFY };

static const struct option_spec options[] = {
    [ROWS] = {"rows", OPTION_COUNT, false, "0", 0, 1e6, NULL,
              "of the matrix; 0: as many as a row has numbers of 8 bytes"},
    [BYTES] = {"row", OPTION_BYTES, false, "8000", 8, 1073741824.0, NULL,
               "length of each"},
    [READS] = {"reads", OPTION_COUNT, 1000000, "400000000", 1, 1e12, NULL,
               "numbers read, in whole columns"},
    [VERIFY] = OPTION_VERIFY("sample"),
};

static const struct variant variants[] = {
    {"square", "", "a square matrix, read column by column"},
    {"few", "rows=16", "16 rows, read in one loop"},
};

struct matrix {
    uint64_t **row;
    size_t rows, columns;
};

static void build(struct matrix *m, struct tally *tally, size_t bytes)
{
    for (size_t i = 0; i < m->rows; i++) {
        m->row[i] = take(tally, bytes, VERIFY_NONE);
        for (size_t k = 0; k < m->columns; k++)
            m->row[i][k] = i + k;
    }
}

static uint64_t read_columns(const struct matrix *m, uint64_t columns)
{
    uint64_t sum = 0;

    for (size_t k = 0; columns > 0; columns--) {
        for (size_t i = 0; i < m->rows; i++)
            sum += m->row[i][k];
        k = k + 1 < m->columns ? k + 1 : 0;
    }
    return sum;
}

/* What they must come to, modulo 2^64. */
static uint64_t sum_of_columns(const struct matrix *m, uint64_t columns)
{
    uint64_t whole = columns / m->columns, rest = columns % m->columns;
    uint64_t places = whole * (m->columns * (m->columns - 1) / 2) +
                      (rest == 0 ? 0 : rest * (rest - 1) / 2);

    return columns * (m->rows * (m->rows - 1) / 2) + m->rows * places;
}

/* Each number of them is as it was written. */
static bool is_intact(const struct matrix *m, size_t i)
{
    size_t k = 0;

    while (k < m->columns && m->row[i][k] == i + k)
        k++;
    return k == m->columns;
}

static void run_rows(struct run *run)
{
    enum verify verify = (enum verify)run_count(run, VERIFY);
    struct tally *tally;
    size_t bytes = run_count(run, BYTES);
    struct matrix m = {.rows = run_count(run, ROWS),
                       .columns = bytes / sizeof(uint64_t)};
    uint64_t columns, sum;

    m.rows = m.rows == 0 ? m.columns : m.rows;
    m.row = memory_map(m.rows * sizeof(*m.row));
    columns = run_count(run, READS) / m.rows + 1;
    run_begin(run, false);
    tally = &run->tally[0];
    build(&m, tally, bytes);
    run_mark(run);
    run_start_timing(run);
    sum = read_columns(&m, columns);
    tally_ops(tally, columns * m.rows);
    run_end(run);
    if (verify != VERIFY_NONE)
        tally_check(tally, sum == sum_of_columns(&m, columns));
    for (size_t i = 0; i < m.rows; i++) {
        if (verify == VERIFY_ALL)
            tally_check(tally, is_intact(&m, i));
        give(tally, m.row[i], bytes, VERIFY_NONE);
    }
}

WORKLOAD(rows) = {
    .name = "rows",
    .summary = "a matrix of rows that are objects is read column by column",
    .source = "vectors of vectors; Afek, Dice & Morrison, ISMM 2011",
    .op = "read of one number",
    WORKLOAD_TABLES(options, variants),
    .run = run_rows,
};
