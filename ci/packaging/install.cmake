# What `cmake --install` puts where, in three components that become three packages:
# runtime (shared libraries), dev (headers, static library, CMake and pkg-config files,
# Rust crate, mymalloc(3)) and tools (mymalloc-run, -prof, -stats, -trace where it is built, and
# their manual pages).
include(CMakePackageConfigHelpers)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/allocator/include/mymalloc
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev)

# The Rust crate as it is, to be named by its path.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/allocator/bindings/rust
  DESTINATION ${CMAKE_INSTALL_DATADIR}/mymalloc COMPONENT dev PATTERN target EXCLUDE)

set_target_properties(mymalloc_preload PROPERTIES EXPORT_NAME preload)
set_target_properties(mymalloc_preload_static PROPERTIES EXPORT_NAME preload_static)
set_target_properties(mymalloc_secure PROPERTIES EXPORT_NAME secure)
set_target_properties(mymalloc_secure_static PROPERTIES EXPORT_NAME secure_static)
install(TARGETS mymalloc mymalloc_static mymalloc_preload mymalloc_preload_static
  mymalloc_secure mymalloc_secure_static
  EXPORT mymalloc
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT dev
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)

set(mym_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mymalloc)
install(EXPORT mymalloc NAMESPACE mymalloc:: FILE mymallocTargets.cmake
  DESTINATION ${mym_cmake_dir} COMPONENT dev)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/mymallocConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/mymallocConfig.cmake INSTALL_DESTINATION ${mym_cmake_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/mymallocConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mymallocConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/mymallocConfigVersion.cmake
  DESTINATION ${mym_cmake_dir} COMPONENT dev)

# The .pc file is relative to itself, so that a moved or staged installation works; where each of the
# folders is elsewhere, too (CMAKE_INSTALL_LIBDIR may be a whole path).
foreach(folder PREFIX FULL_LIBDIR FULL_INCLUDEDIR)
  file(RELATIVE_PATH path ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_${folder}})
  string(REGEX REPLACE "/$" "" mym_pc_${folder} "${path}")
endforeach()
configure_file(${CMAKE_CURRENT_LIST_DIR}/mymalloc.pc.in
  ${CMAKE_CURRENT_BINARY_DIR}/mymalloc.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mymalloc.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

add_executable(mymalloc-run ${CMAKE_CURRENT_LIST_DIR}/run/run.c
  ${CMAKE_CURRENT_LIST_DIR}/run/library.c ${CMAKE_CURRENT_LIST_DIR}/run/program.c
  ${CMAKE_CURRENT_LIST_DIR}/run/image.c ${CMAKE_CURRENT_LIST_DIR}/run/preload.c
  ${CMAKE_CURRENT_LIST_DIR}/run/doctor.c)
file(RELATIVE_PATH mym_library_from_bin
  ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
target_compile_definitions(mymalloc-run PRIVATE _GNU_SOURCE
  LIBRARY_FROM_BIN="${mym_library_from_bin}/$<TARGET_SONAME_FILE_NAME:mymalloc_preload>"
  SECURE_FROM_BIN="${mym_library_from_bin}/$<TARGET_SONAME_FILE_NAME:mymalloc_secure>")
target_link_libraries(mymalloc-run PRIVATE mymalloc_warnings ${CMAKE_DL_LIBS})
install(TARGETS mymalloc-run DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)

install(PROGRAMS ${CMAKE_CURRENT_LIST_DIR}/prof/mymalloc-prof DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
install(DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/prof/ DESTINATION ${CMAKE_INSTALL_DATADIR}/mymalloc/prof COMPONENT tools
  FILES_MATCHING PATTERN "*.py")
install(PROGRAMS ${PROJECT_SOURCE_DIR}/allocator/tools/mymalloc-stats
  DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
install(FILES ${PROJECT_SOURCE_DIR}/allocator/tools/mymalloc_heap.py
  DESTINATION ${CMAKE_INSTALL_DATADIR}/mymalloc COMPONENT tools)

install(FILES ${PROJECT_SOURCE_DIR}/docs/examples/gdb/mymalloc.py
  DESTINATION ${CMAKE_INSTALL_DATADIR}/mymalloc/gdb COMPONENT tools)

# mym_manual(NAME SECTION COMPONENT): compressed, as manual pages are installed.
function(mym_manual name section component)
  set(source ${PROJECT_SOURCE_DIR}/docs/man/${name}.${section})
  set(page ${CMAKE_CURRENT_BINARY_DIR}/${name}.${section}.gz)
  add_custom_command(OUTPUT ${page} DEPENDS ${source} COMMAND gzip -9nc ${source} > ${page} VERBATIM)
  add_custom_target(manual-${name}.${section} ALL DEPENDS ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${component})
endfunction()
mym_manual(mymalloc 3 dev)
mym_manual(mymalloc_arena 3 dev)
mym_manual(mymalloc-run 1 tools)
mym_manual(mymalloc-prof 1 tools)
if(TARGET mymalloc-trace) # not in the preset library
  mym_manual(mymalloc-trace 1 tools)
endif()
mym_manual(mymalloc-stats 1 tools)
