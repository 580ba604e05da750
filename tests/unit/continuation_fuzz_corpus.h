/* SPDX-License-Identifier: MIT */
/* Traces that found a mistake once, or nearly: replayed first.  continuation_fuzz.c has the language. */
"", "y", "pyuyuy", "{y}{Y}", "{p{yY}uyY}y", "d[d{d[dy]Y}]f", "<p{y}u>Y", "{{{yY}Y}Y}YlfrY", "(f<l[f(lyY)]>)",
