# cmake -DBUILD=… -DPREFIX=… -P install_test.cmake: what `cmake --install` puts where, and that the installed program
# finds its model programs from there, through a symbolic link, too.
file(REMOVE_RECURSE ${PREFIX})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${PREFIX} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
foreach(file bin/tl share/tensorlogic/models/llama.tl share/tensorlogic/models/qwen2.tl share/doc/tensorlogic/README.md
        share/doc/tensorlogic/LICENSE share/doc/tensorlogic/language.md)
  if(NOT EXISTS ${PREFIX}/${file})
    message(FATAL_ERROR "${file} is not installed")
  endif()
endforeach()

file(MAKE_DIRECTORY ${PREFIX}/elsewhere)
file(CREATE_LINK ${PREFIX}/bin/tl ${PREFIX}/elsewhere/tl SYMBOLIC)
file(WRITE ${PREFIX}/elsewhere/program.tl "import \"llama.tl\"\nmain { print(\"found\") }\n")
execute_process(COMMAND ${PREFIX}/elsewhere/tl run program.tl WORKING_DIRECTORY ${PREFIX}/elsewhere OUTPUT_VARIABLE output
                COMMAND_ERROR_IS_FATAL ANY)
if(NOT output STREQUAL "found\n")
  message(FATAL_ERROR "the installed program printed: ${output}")
endif()
file(REMOVE_RECURSE ${PREFIX})
