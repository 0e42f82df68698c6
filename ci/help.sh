# shellcheck shell=sh
# help.sh - sourced first by scripts whose head comment is their manual: --help prints it.
case ${1-} in
-h | --help)
    sed -n -e 1d -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
