"""What the module AttentionRegistration is made of; every file is listed in the CMakeLists.txt beside it."""
