/* not_an_allocator.c - a library that a preload loads and malloc never comes from. */
const char *suite_test_name(void);

const char *suite_test_name(void)
{
    return "none";
}
