#!/bin/sh
# A network plugin for tests: notes what it is asked, then does what the file beside it says.
input=$(cat)
echo "$CNI_COMMAND ${0##*/} $CNI_ARGS $input" >>"${0%/*}/log"
. "$0.does"
