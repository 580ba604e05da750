/* SPDX-License-Identifier: MIT */
/* A library that is loaded when the collector runs already: its static variables are roots, too (gc_life.c). */
extern void *gc_plugin_root[2] __attribute__((visibility("default")));
void *gc_plugin_root[2];
