#!/bin/sh
# count_words.sh TEXT SECONDS
echo "counting" >&2
sleep "$2"
printf '%s' "$1" | wc -w | tr -d ' '
