# cpack -G DEB: one package per component. ci/package configures for /usr and runs it.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME mymalloc)
set(CPACK_PACKAGE_VENDOR "the mymalloc authors")
set(CPACK_PACKAGE_CONTACT "the mymalloc authors <mymalloc@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "per-CPU heap allocator for Linux")
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL runtime dev tools)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)

# dpkg-shlibdeps finds our own library where the build put it.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}/allocator)

set(runtime_package libmymalloc${PROJECT_VERSION_MAJOR})

# What Debian's policy wants in every package: its licence and its changes.
set(mym_pack_dir ${CMAKE_CURRENT_BINARY_DIR}/pack)
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/changelog newest LIMIT_COUNT 1)
if(NOT newest MATCHES "^mymalloc \\(${PROJECT_VERSION}\\)")
  message(FATAL_ERROR "ci/packaging/changelog begins with '${newest}', the project has version ${PROJECT_VERSION}")
endif()
file(READ ${PROJECT_SOURCE_DIR}/LICENSE licence)
string(REGEX MATCH "Copyright \\(c\\) ([^\n]+)\n+(.*)" found "${licence}")
set(holder "${CMAKE_MATCH_1}")
string(STRIP "${CMAKE_MATCH_2}" licence)
string(REPLACE "\n" "\n " licence "${licence}")
string(REPLACE "\n \n" "\n .\n" licence "${licence}")
file(WRITE ${mym_pack_dir}/copyright
  "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
  "Upstream-Name: mymalloc\n\nFiles: *\nCopyright: ${holder}\nLicense: Expat\n ${licence}\n")
execute_process(COMMAND gzip -9nc ${CMAKE_CURRENT_LIST_DIR}/changelog
  OUTPUT_FILE ${mym_pack_dir}/changelog.gz COMMAND_ERROR_IS_FATAL ANY)
foreach(component runtime dev tools)
  set(package mymalloc-tools)
  if(component STREQUAL runtime)
    set(package ${runtime_package})
  elseif(component STREQUAL dev)
    set(package libmymalloc-dev)
  endif()
  install(FILES ${mym_pack_dir}/copyright ${mym_pack_dir}/changelog.gz
    DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} COMPONENT ${component} EXCLUDE_FROM_ALL)
endforeach()

# ldconfig on install and removal, and what a program built against this must depend on.
file(WRITE ${mym_pack_dir}/triggers "activate-noawait ldconfig\n")
set(needs "${runtime_package} (>= ${PROJECT_VERSION})")
file(WRITE ${mym_pack_dir}/shlibs
  "libmymalloc ${PROJECT_VERSION_MAJOR} ${needs}\nlibmymalloc_preload ${PROJECT_VERSION_MAJOR} ${needs}\nlibmymalloc_secure ${PROJECT_VERSION_MAJOR} ${needs}\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA "${mym_pack_dir}/triggers;${mym_pack_dir}/shlibs")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME ${runtime_package})
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libmymalloc-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "${runtime_package} (= ${PROJECT_VERSION}), libc6-dev")
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME mymalloc-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "${runtime_package} (= ${PROJECT_VERSION}), python3")
set(CPACK_DEBIAN_TOOLS_PACKAGE_RECOMMENDS "binutils")
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "Shared libraries: My* functions, and malloc for LD_PRELOAD.")
set(CPACK_COMPONENT_DEV_DESCRIPTION "Headers, static library, CMake and pkg-config files.")
set(CPACK_COMPONENT_TOOLS_DESCRIPTION "mymalloc-run, mymalloc-trace, mymalloc-prof and mymalloc-stats.")
include(CPack)
