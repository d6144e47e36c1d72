# Debian's cross compiler as a CMake toolchain. EDGE_AGENT_ARM64_HEADERS is a folder with the arm64 Python
# headers (tools/packaging/wheels/build.sh fetches them).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES EDGE_AGENT_ARM64_HEADERS)
# pyconfig.h lies in a folder an architecture, one level above the others.
set(CMAKE_C_FLAGS_INIT "-isystem ${EDGE_AGENT_ARM64_HEADERS}/usr/include")
set(Python_INCLUDE_DIR "${EDGE_AGENT_ARM64_HEADERS}/usr/include/python3.11" CACHE PATH "" FORCE)
