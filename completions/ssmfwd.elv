set edit:completion:arg-completer[ssmfwd] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) SSMFWD_COMPLETE="elvish" ssmfwd -- $@words) | to-lines
}
