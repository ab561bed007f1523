_ssmfwd() {
    local IFS=$' \t\n'
    local line=${COMP_LINE:0:COMP_POINT}
    local -a words
    read -r -a words <<<"$line"
    if [[ $line == *[[:space:]] ]]; then
        words+=("")
    fi
    local current=${words[${#words[@]} - 1]}
    # What bash takes for the word begins after the last of these characters.
    local breaks=${COMP_WORDBREAKS//[[:space:]]/}
    local before=${current%"${current##*[$breaks]}"}
    # But this one is part of it.
    before=${before%@}
    local candidate
    COMPREPLY=()
    # The last line has no end.
    while IFS= read -r candidate || [[ -n $candidate ]]; do
        if [[ -n $candidate ]]; then
            COMPREPLY+=("${candidate#"$before"}")
        fi
    done < <(
        _CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) \
            SSMFWD_COMPLETE=bash ssmfwd -- "${words[@]}" 2>/dev/null
    )
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o bashdefault -F _ssmfwd ssmfwd
