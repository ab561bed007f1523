complete --keep-order --exclusive --command ssmfwd --arguments "(SSMFWD_COMPLETE=fish ssmfwd -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
