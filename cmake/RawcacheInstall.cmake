# Installation: library, headers, CMake package, pkg-config file, tool.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rawcache)
install(TARGETS rawcache EXPORT rawcache_targets FILE_SET HEADERS FILE_SET asio)
install(EXPORT rawcache_targets NAMESPACE rawcache:: FILE rawcacheTargets.cmake
        DESTINATION ${package_dir})
if(RAWCACHE_BUILD_CLI)
  install(TARGETS rawcache_cli)
endif()
install(FILES LICENSE TYPE DOC)

# Before 1.0 a new minor version may change the interface.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/rawcacheConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
# Who links the static library also links what it uses.
set(rawcache_needs "")
set(rawcache_pc_requires "")
if(NOT BUILD_SHARED_LIBS)
  foreach(package IN ITEMS Liburing Lz4 Zstd)
    if(NOT TARGET ${package}::${package})
      continue()
    endif()
    list(APPEND rawcache_needs ${package})
    string(TOLOWER lib${package} name)
    string(REPLACE liblib lib name ${name})
    string(APPEND rawcache_pc_requires " ${name}")
    install(FILES cmake/Find${package}.cmake DESTINATION ${package_dir})
  endforeach()
endif()
configure_package_config_file(cmake/rawcacheConfig.cmake.in
    ${CMAKE_CURRENT_BINARY_DIR}/rawcacheConfig.cmake INSTALL_DESTINATION ${package_dir})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rawcacheConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/rawcacheConfigVersion.cmake
        DESTINATION ${package_dir})

# Paths relative to the file itself, so that the installed tree can be moved.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR
    BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig OUTPUT_VARIABLE rawcache_pc_include)
configure_file(cmake/rawcache.pc.in ${CMAKE_CURRENT_BINARY_DIR}/rawcache.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rawcache.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
