/* not_an_allocator.c - a library that a preload loads and malloc never comes from. */
#define TEXT_OF(name) #name
#define TEXT(name)    TEXT_OF(name)

const char *suite_test_name(void);

const char *suite_test_name(void)
{
    return TEXT(NAME);
}
