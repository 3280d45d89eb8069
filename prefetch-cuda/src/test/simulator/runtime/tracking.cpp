// Collects the bytes that a launch reads and writes. g++ -fsanitize=thread puts a call before every memory access of a
// kernel; the functions called are these, not those of libtsan. Compiled without that option itself.
#include "grid.h"
#include <algorithm>
#include <link.h>
#include <stdio.h>

namespace simulator {

static const uint64_t PAGE_SPAN = 0x10000;

// ---- memory of the library itself: constants, static shared memory ----

struct OwnSearch {
    uintptr_t address;
    bool found;
};

static int search_own_segments(dl_phdr_info* info, size_t, void* data) {
    auto search = (OwnSearch*)data;
    auto segment = [&](int i, uintptr_t& begin, uintptr_t& end) {
        const auto& header = info->dlpi_phdr[i];
        if (header.p_type == PT_LOAD) begin = info->dlpi_addr + header.p_vaddr;
        else if (header.p_type == PT_TLS && info->dlpi_tls_data) begin = (uintptr_t)info->dlpi_tls_data;
        else return false;
        end = begin + header.p_memsz;
        return true;
    };
    uintptr_t begin, end, code = (uintptr_t)&search_own_segments;
    bool own = false;
    for (int i = 0; i < info->dlpi_phnum; i++) own |= segment(i, begin, end) && code >= begin && code < end;
    if (!own) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (!segment(i, begin, end)) continue;
        begin &= ~uintptr_t(4095);
        end = (end + 4095) & ~uintptr_t(4095);
        search->found |= search->address >= begin && search->address < end;
    }
    return 1;
}

static bool is_own(uintptr_t address) {
    OwnSearch search = {address, false};
    dl_iterate_phdr(search_own_segments, &search);
    return search.found;
}

// ---- what the driver has allocated ----

static const simulator_range* next_range(const simulator_launch* launch, uint64_t address) {
    return std::upper_bound(launch->live, launch->live + launch->live_count, address,
        [](uint64_t a, const simulator_range& range) { return a < range.begin; });
}
static bool is_live(const simulator_launch* launch, uint64_t begin, uint64_t end) {
    auto next = next_range(launch, begin);
    return next != launch->live && (next - 1)->end >= end;
}
static bool overlaps_live(const simulator_launch* launch, uint64_t begin, uint64_t end) {
    auto next = next_range(launch, begin);
    return (next != launch->live && (next - 1)->end > begin)
        || (next != launch->live + launch->live_count && next->begin < end);
}

[[noreturn]] static void invalid_access(uintptr_t address, unsigned bytes, int mode) {
    char what[160];
    snprintf(what, sizeof what, "invalid %s of %u bytes at 0x%llx", mode ? "write" : "read", bytes, (unsigned long long)address);
    fail(700, what);
}

static Page* page_of(Runner* r, uintptr_t address, unsigned bytes, int mode) {
    uint64_t base = address & ~(PAGE_SPAN - 1);
    if (r->last_base == base) return r->last_page;
    Page*& page = r->pages[base];
    if (!page) {
        const simulator_launch* launch = r->launch;
        bool of_device = base + PAGE_SPAN > launch->device_begin && base < launch->device_end;
        auto kind = is_live(launch, base, base + PAGE_SPAN)               ? Page::LIVE
            : of_device || overlaps_live(launch, base, base + PAGE_SPAN) ? Page::MIXED
                                                                          : Page::OWN;
        if (kind == Page::OWN && !is_own(address)) {
            r->pages.erase(base);
            invalid_access(address, bytes, mode);
        }
        if (r->spare_pages.empty()) {
            page = new Page();
        } else {
            page = r->spare_pages.back();
            r->spare_pages.pop_back();
        }
        memset(page->reads, 0, sizeof page->reads);
        memset(page->writes, 0, sizeof page->writes);
        page->base = base;
        page->kind = kind;
    }
    r->last_base = base;
    return r->last_page = page;
}

// mode: 0 read, 1 write, 2 both
static void mark(Page* page, uint64_t address, unsigned bytes, int mode) {
    uint64_t last = ((address + bytes - 1) & (PAGE_SPAN - 1)) >> 2;
    for (uint64_t granule = (address & (PAGE_SPAN - 1)) >> 2; granule <= last; granule++) {
        uint64_t bit = 1ull << (granule & 63);
        if (mode != 1) page->reads[granule >> 6] |= bit;
        if (mode != 0) page->writes[granule >> 6] |= bit;
    }
}

static void track(Runner* r, uintptr_t address, unsigned bytes, int mode) {
    while (bytes) {
        unsigned here = (unsigned)std::min<uint64_t>(bytes, PAGE_SPAN - (address & (PAGE_SPAN - 1)));
        Page* page = page_of(r, address, here, mode);
        bool marks = page->kind != Page::OWN;
        if (page->kind == Page::MIXED && !is_live(r->launch, address, address + here)) {
            bool of_device = address + here > r->launch->device_begin && address < r->launch->device_end;
            if (of_device || !is_own(address)) invalid_access(address, here, mode);
            marks = false;
        }
        if (marks) mark(page, address, here, mode);
        address += here;
        bytes -= here;
    }
}

static inline void on_access(const volatile void* pointer, unsigned bytes, int mode) {
    Runner* r = runner;
    if (!r || !r->tracking) return;
    auto address = (uintptr_t)pointer;
    if (address - (uintptr_t)r->region >= r->region_bytes) {
        track(r, address, bytes, mode);
        return;
    }
    // Stacks and thread indices are the fiber's own; dynamic shared memory has the size of the launch.
    uintptr_t offset = address - (uintptr_t)r->dynamic_shared;
    if (offset < LARGEST_SHARED_BYTES && offset + bytes > r->launch->dynamic_shared_bytes) invalid_access(address, bytes, mode);
}

static void report_bits(const simulator_launch* launch, const std::vector<Page*>& pages, bool writes) {
    uint64_t begin = 0, end = 0;
    for (const Page* page : pages) {
        if (page->kind == Page::OWN) continue;
        const uint64_t* words = writes ? page->writes : page->reads;
        for (int i = 0; i < 256; i++) {
            for (int bit = 0; bit < 64 && (words[i] >> bit);) {
                bit += __builtin_ctzll(words[i] >> bit);
                uint64_t zeros = ~(words[i] >> bit);
                int length = std::min(zeros ? __builtin_ctzll(zeros) : 64, 64 - bit);
                uint64_t from = page->base + (uint64_t)(i * 64 + bit) * 4, to = from + (uint64_t)length * 4;
                if (from != end) {
                    if (end) launch->report_access(launch->receiver, begin, end, writes);
                    begin = from;
                }
                end = to;
                bit += length;
            }
        }
    }
    if (end) launch->report_access(launch->receiver, begin, end, writes);
}

void report_accesses(Runner* r) {
    r->tracking = false;
    std::vector<Page*> pages;
    for (auto& page : r->pages) pages.push_back(page.second);
    std::sort(pages.begin(), pages.end(), [](Page* a, Page* b) { return a->base < b->base; });
    report_bits(r->launch, pages, false);
    report_bits(r->launch, pages, true);
    r->spare_pages.insert(r->spare_pages.end(), pages.begin(), pages.end());
    r->pages.clear();
    r->last_base = ~0ull;
    r->last_page = nullptr;
}

}  // namespace simulator

using namespace simulator;

extern "C" {

void simulator_access(const volatile void* address, unsigned bytes, int mode) { on_access(address, bytes, mode); }

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* address, unsigned long bytes) { on_access(address, (unsigned)bytes, 0); }
void __tsan_write_range(void* address, unsigned long bytes) { on_access(address, (unsigned)bytes, 1); }
#define HOOKS(BYTES)                                                                    \
    void __tsan_read##BYTES(void* address) { on_access(address, BYTES, 0); }            \
    void __tsan_write##BYTES(void* address) { on_access(address, BYTES, 1); }           \
    void __tsan_unaligned_read##BYTES(void* address) { on_access(address, BYTES, 0); }  \
    void __tsan_unaligned_write##BYTES(void* address) { on_access(address, BYTES, 1); } \
    void __tsan_volatile_read##BYTES(void* address) { on_access(address, BYTES, 0); }   \
    void __tsan_volatile_write##BYTES(void* address) { on_access(address, BYTES, 1); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
}
