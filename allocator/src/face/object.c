/*
 * object.c - a loaded program or library by its own tables (ELF gABI, DT_GNU_HASH).
 */
#include "face/object.h"

#include <string.h>

/* Addresses are relocated already, but where the section cannot be written to. */
static uintptr_t address(const struct dl_phdr_info *info, ElfW(Addr) value)
{
    return value < info->dlpi_addr ? value + info->dlpi_addr : value;
}

static void read_entry(const struct dl_phdr_info *info, const ElfW(Dyn) * entry,
                       struct mym_object *object)
{
    uintptr_t value = address(info, entry->d_un.d_ptr);

    if (entry->d_tag == DT_SYMTAB)
        object->symbols = (const void *)value;
    else if (entry->d_tag == DT_STRTAB)
        object->strings = (const void *)value;
    else if (entry->d_tag == DT_GNU_HASH)
        object->hash = (const void *)value;
}

bool mym_object_read(const struct dl_phdr_info *info, struct mym_object *object)
{
    *object = (struct mym_object){.dynamic = NULL};
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            object->dynamic =
                (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    if (object->dynamic == NULL)
        return false;
    for (const ElfW(Dyn) *entry = object->dynamic; entry->d_tag != DT_NULL; entry++)
        read_entry(info, entry, object);
    return object->symbols != NULL && object->strings != NULL;
}

const ElfW(Phdr) *
    mym_object_segment(const struct dl_phdr_info *info, const void *address)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type == PT_LOAD &&
            (uintptr_t)address - info->dlpi_addr - part->p_vaddr < part->p_memsz)
            return part;
    }
    return NULL;
}

bool mym_object_has(const struct dl_phdr_info *info, const void *address)
{
    return mym_object_segment(info, address) != NULL;
}

bool mym_object_runs(const struct dl_phdr_info *info, const void *address)
{
    const ElfW(Phdr) *part = mym_object_segment(info, address);

    return part != NULL && (part->p_flags & PF_X) != 0;
}

bool mym_object_needs(const struct mym_object *object, const char *prefix)
{
    const ElfW(Dyn) *entry = object->dynamic;

    for (; entry != NULL && entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == DT_NEEDED &&
            strncmp(object->strings + entry->d_un.d_val, prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

static uint32_t hash_of(const char *name)
{
    uint32_t hash = 5381;

    for (; *name != '\0'; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

/* Of DT_GNU_HASH; symbols below `first` are not in it. */
struct hash_table {
    const uint32_t *buckets, *chain;
    uint32_t count, first;
};

static bool open_table(const struct mym_object *object, struct hash_table *table)
{
    const uint32_t *hash = object->hash;

    if (hash == NULL || hash[0] == 0)
        return false;
    /* buckets, the first symbol in the table, words of the filter, its shift; filter */
    table->count = hash[0];
    table->first = hash[1];
    table->buckets = hash + 4 + hash[2] * (sizeof(ElfW(Addr)) / sizeof *hash);
    table->chain = table->buckets + table->count;
    return true;
}

static bool is_function(const ElfW(Sym) * symbol)
{
    return symbol->st_shndx != SHN_UNDEF && (symbol->st_info & 0xf) == STT_FUNC;
}

const ElfW(Sym) * mym_object_symbol(const struct mym_object *object, const char *name)
{
    struct hash_table table;
    uint32_t hash = hash_of(name), place;

    if (!open_table(object, &table))
        return NULL;
    place = table.buckets[hash % table.count];
    for (; place >= table.first; place++) {
        const ElfW(Sym) *symbol = &object->symbols[place];
        uint32_t entry = table.chain[place - table.first];

        if ((entry | 1) == (hash | 1) && is_function(symbol) &&
            strcmp(object->strings + symbol->st_name, name) == 0)
            return symbol;
        if (entry & 1) /* the last of its bucket */
            break;
    }
    return NULL;
}

void mym_object_each(const struct mym_object *object,
                     void (*visit)(const char *name, const ElfW(Sym) * symbol,
                                   void *context),
                     void *context)
{
    struct hash_table table;

    if (!open_table(object, &table))
        return;
    for (uint32_t bucket = 0; bucket < table.count; bucket++)
        for (uint32_t place = table.buckets[bucket]; place >= table.first; place++) {
            const ElfW(Sym) *symbol = &object->symbols[place];

            if (is_function(symbol))
                visit(object->strings + symbol->st_name, symbol, context);
            if (table.chain[place - table.first] & 1)
                break;
        }
}

void *mym_object_function(const struct dl_phdr_info *info,
                          const struct mym_object *object, const char *name)
{
    const ElfW(Sym) *symbol = mym_object_symbol(object, name);

    return symbol != NULL ? (void *)(info->dlpi_addr + symbol->st_value) : NULL;
}
