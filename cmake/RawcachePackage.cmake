# A Debian package of the tool and its service: `cpack -G DEB` in the build folder. Its files are in a
# component that only packages install, as they lie outside of any prefix.
find_package(Python3 COMPONENTS Interpreter)
find_program(RAWCACHE_DPKG dpkg)
mark_as_advanced(RAWCACHE_DPKG)
if(NOT Python3_FOUND OR NOT RAWCACHE_DPKG)
  message(STATUS "python3 or dpkg is not installed: no Debian package")
  return()
endif()

set(package_sources ${CMAKE_CURRENT_SOURCE_DIR}/packaging)
set(package_docs ${CMAKE_CURRENT_BINARY_DIR}/package_docs)
file(MAKE_DIRECTORY ${package_docs})
add_custom_command(
    OUTPUT ${package_docs}/rawcache.1.gz ${package_docs}/changelog.gz ${package_docs}/NEWS.gz
    COMMAND Python3::Interpreter ${package_sources}/make_docs.py $<TARGET_FILE:rawcache_cli>
            ${CMAKE_CURRENT_SOURCE_DIR} ${PROJECT_VERSION} ${package_docs}
    DEPENDS rawcache_cli ${package_sources}/make_docs.py ${package_sources}/debian/changelog.in
            ${CMAKE_CURRENT_SOURCE_DIR}/CHANGELOG.md
    VERBATIM)
add_custom_target(package_docs ALL DEPENDS ${package_docs}/rawcache.1.gz)

set(in_package COMPONENT service EXCLUDE_FROM_ALL)
install(TARGETS rawcache_cli RUNTIME DESTINATION /usr/bin ${in_package})
install(FILES packaging/rawcache.service DESTINATION /lib/systemd/system ${in_package})
install(FILES packaging/rawcache.default DESTINATION /etc/default RENAME rawcache ${in_package})
install(FILES ${package_docs}/rawcache.1.gz DESTINATION /usr/share/man/man1 ${in_package})
install(FILES ${package_docs}/changelog.gz ${package_docs}/NEWS.gz packaging/debian/copyright
        DESTINATION /usr/share/doc/rawcache ${in_package})
install(FILES README.md docs/operations.md DESTINATION /usr/share/doc/rawcache ${in_package})
install(DIRECTORY dashboards DESTINATION /usr/share/doc/rawcache ${in_package}
        FILES_MATCHING PATTERN "*.json" PATTERN "*.yml" PATTERN "__pycache__" EXCLUDE)

set(CPACK_GENERATOR DEB)
set(CPACK_COMPONENTS_ALL service)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_SERVICE_PACKAGE_NAME rawcache)
set(CPACK_PACKAGE_CONTACT "The rawcache authors <maintainers@rawcache.invalid>")
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.52)")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    ${package_sources}/debian/conffiles ${package_sources}/debian/postinst
    ${package_sources}/debian/prerm ${package_sources}/debian/postrm)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "cache on raw disks that speaks memcached's protocol")
set(CPACK_COMPONENT_SERVICE_DESCRIPTION
"A cache of keys and values on a raw block device or in one file. It turns many
small reads and writes into few large ones, survives kill -9 and power cuts,
and knows after a restart what it knew before.

This package has the command line tool and a hardened service that serves the
cache by memcached's protocol.")
include(CPack)
