# What all targets of this build have in common.

get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(PROJECT_IS_TOP_LEVEL AND NOT multi_config AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(RAWCACHE_CCACHE ccache)
  mark_as_advanced(RAWCACHE_CCACHE)
  if(RAWCACHE_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${RAWCACHE_CCACHE})
  endif()
endif()

# Standard, warnings, and paths in messages that are relative to the repository.
function(rawcache_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_23)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE
      -Wall -Wextra -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=
      # g++ 12 sees uninitialized memory in std::expected and std::optional where there is none.
      $<$<CXX_COMPILER_ID:GNU>:-Wpedantic -Wconversion -Wno-sign-conversion -Wshadow
                               -Wno-maybe-uninitialized>
      $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
      $<$<BOOL:${RAWCACHE_WARNINGS_AS_ERRORS}>:-Werror>)
endfunction()

# What a target needs that includes Asio. Clang has coroutines, which Asio 1.22 does not know.
function(rawcache_use_asio target)
  target_include_directories(${target} SYSTEM PRIVATE ${RAWCACHE_ASIO_INCLUDE_DIR})
  target_compile_definitions(${target} PRIVATE
      $<$<CXX_COMPILER_ID:Clang>:ASIO_HAS_CO_AWAIT=1 ASIO_HAS_STD_COROUTINE=1>)
endfunction()

# `check_headers` compiles every header alone: the public ones by CMake's own means, the given private
# ones as a source file of one line each.
function(rawcache_check_headers like)
  set(sources "")
  foreach(header IN LISTS ARGN)
    string(REGEX REPLACE "^src/" "" name ${header})
    set(source ${CMAKE_CURRENT_BINARY_DIR}/generated/headers/${name}.cc)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${name}\"\n")
    list(APPEND sources ${source})
  endforeach()
  add_library(rawcache_private_headers OBJECT EXCLUDE_FROM_ALL ${sources})
  rawcache_compile_options(rawcache_private_headers)
  target_include_directories(rawcache_private_headers PRIVATE
      $<TARGET_PROPERTY:${like},INCLUDE_DIRECTORIES>)
  target_compile_definitions(rawcache_private_headers PRIVATE
      $<TARGET_PROPERTY:${like},COMPILE_DEFINITIONS>)
  add_custom_target(check_headers)
  add_dependencies(check_headers rawcache_private_headers)
  # CMake makes the target for the public headers at the end of the directory.
  cmake_language(DEFER CALL add_dependencies check_headers rawcache_verify_interface_header_sets)
endfunction()

# Exports from a shared library what the map lists and nothing else, also nothing of liburing.
function(rawcache_hide_symbols target map)
  set(map ${CMAKE_CURRENT_SOURCE_DIR}/${map})
  target_link_options(${target} PRIVATE
      LINKER:--version-script=${map} LINKER:--exclude-libs,ALL LINKER:--no-undefined)
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${map})
endfunction()
