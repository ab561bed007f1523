# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ssmfwd_global_optspecs
    string join \n document= parameter= reason= payload-size= half-close= keep-alive ping-interval= dead-after= lazy no-reconnect profile= region= endpoint-url= endpoint= proxy= ca-bundle= json v/verbose q/quiet ready-fd= lab agent-version= pace kms-key= chaos= h/help V/version
end

function __fish_ssmfwd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ssmfwd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ssmfwd_using_subcommand
    set -l cmd (__fish_ssmfwd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l document -d 'A Session Manager document of your own, for exactly one FORWARD' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l parameter -d 'A parameter for the document; may be repeated' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l reason -d 'Why the session is started, for the account\'s audit log; 1 to 256 characters' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l payload-size -d 'The most payload one message upwards carries, in bytes: 256 to 32768' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l half-close -d 'How long the end of a local sender\'s data is held back, in seconds' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l ping-interval -d 'How long the service may be silent before it is asked for a sign of life, in seconds: 1 to 300' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l dead-after -d 'How long the service may be silent before its connection counts as lost, in seconds: 2 to 600' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l profile -d 'The profile of the shared configuration files' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l region -d 'The AWS region' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l endpoint-url -d 'The address of the Systems Manager API, such as a VPC endpoint\'s' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l endpoint -d 'The address of a service, such as a VPC endpoint\'s; may be repeated' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l proxy -d 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT' -r -f
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l ca-bundle -d 'A file of certificates to trust beside those the system trusts, in PEM format' -r -F
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l ready-fd -d 'Write READY and a newline to this inherited file descriptor once every forward works' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l agent-version -d 'The version the agents claim and behave as' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l kms-key -d 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l chaos -d 'What goes wrong, such as delay=20ms,drop=5%,cut/60s' -r
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l keep-alive -d 'Keep sessions that are not used from ending with the account\'s idle timeout'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l lazy -d 'Start no session before the first connection to its forward'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l no-reconnect -d 'End, with exit code 6, when a session or its connection is lost'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l json -d 'Print events as JSON on standard output, one object per line'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -s v -l verbose -d 'Print more: -v every connection, -vv also debug logs, -vvv every message'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -s q -l quiet -d 'Print errors only'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l lab -d 'Use an embedded Session Manager in which TARGET exists, instead of AWS'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -l pace -d 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -s V -l version -d 'Print version'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -a "shell" -d 'Open a shell on a target'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -a "exec" -d 'Run a command on a target, with its output and its exit code'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -a "proxy" -d 'Connect standard input and output to a port of TARGET, as ProxyCommand of ssh'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -a "ssh-config" -d 'Print the stanza with which ssh, scp, sftp and rsync reach managed nodes by their id'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -a "lab" -d 'Run a Session Manager of your own on loopback; no AWS account is needed'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -a "plugin" -d 'Be the AWS CLI\'s session-manager-plugin, which a link of that name to ssmfwd is too'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -a "completions" -d 'Print the completion script of a shell'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -a "man" -d 'Print a man page'
complete -c ssmfwd -n "__fish_ssmfwd_needs_command" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l escape-char -d 'The character that begins an escape at the start of a line, or none' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l document -d 'A Session Manager document of your own' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l parameter -d 'A parameter for the document; may be repeated' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l reason -d 'Why the session is started, for the account\'s audit log; 1 to 256 characters' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l payload-size -d 'The most payload one message upwards carries, in bytes: 256 to 32768' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l profile -d 'The profile of the shared configuration files' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l region -d 'The AWS region' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l endpoint-url -d 'The address of the Systems Manager API, such as a VPC endpoint\'s' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l endpoint -d 'The address of a service, such as a VPC endpoint\'s; may be repeated' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l proxy -d 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT' -r -f
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l ca-bundle -d 'A file of certificates to trust beside those the system trusts, in PEM format' -r -F
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l agent-version -d 'The version the agents claim and behave as' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l kms-key -d 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l chaos -d 'What goes wrong, such as delay=20ms,drop=5%,cut/60s' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -s v -l verbose -d 'Print more: -v how the session ends, -vv also debug logs, -vvv every message'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -s q -l quiet -d 'Print errors only'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l lab -d 'Use an embedded Session Manager in which TARGET exists, instead of AWS'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -l pace -d 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand shell" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l escape-char -d 'The character that begins an escape at the start of a line, or none; see ssmfwd shell' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l document -d 'A Session Manager document of your own' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l parameter -d 'A parameter for the document; may be repeated' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l reason -d 'Why the session is started, for the account\'s audit log; 1 to 256 characters' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l payload-size -d 'The most payload one message upwards carries, in bytes: 256 to 32768' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l profile -d 'The profile of the shared configuration files' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l region -d 'The AWS region' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l endpoint-url -d 'The address of the Systems Manager API, such as a VPC endpoint\'s' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l endpoint -d 'The address of a service, such as a VPC endpoint\'s; may be repeated' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l proxy -d 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT' -r -f
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l ca-bundle -d 'A file of certificates to trust beside those the system trusts, in PEM format' -r -F
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l agent-version -d 'The version the agents claim and behave as' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l kms-key -d 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l chaos -d 'What goes wrong, such as delay=20ms,drop=5%,cut/60s' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -s t -l tty -d 'Give the command a terminal: ours, as in ssmfwd shell'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -s v -l verbose -d 'Print more: -v how the session ends, -vv also debug logs, -vvv every message'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -s q -l quiet -d 'Print errors only'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l lab -d 'Use an embedded Session Manager in which TARGET exists, instead of AWS'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -l pace -d 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l push-key -d 'Push a public key with EC2 Instance Connect before connecting; one can log in with it for a minute' -r -F
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l user -d 'The user who can log in with the pushed key' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l document -d 'The Session Manager document' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l parameter -d 'A parameter for the document; may be repeated' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l reason -d 'Why the session is started, for the account\'s audit log; 1 to 256 characters' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l half-close -d 'How long the rest of the answer is waited for once standard input has ended, in seconds of silence' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l payload-size -d 'The most payload one message upwards carries, in bytes: 256 to 32768' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l profile -d 'The profile of the shared configuration files' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l region -d 'The AWS region' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l endpoint-url -d 'The address of the Systems Manager API, such as a VPC endpoint\'s' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l endpoint -d 'The address of a service, such as a VPC endpoint\'s; may be repeated' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l proxy -d 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT' -r -f
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -l ca-bundle -d 'A file of certificates to trust beside those the system trusts, in PEM format' -r -F
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -s v -l verbose -d 'Print more to standard error: -v how the session ended, -vv also debug logs, -vvv every message'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand proxy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l label -d 'Make the hosts i-ID.LABEL and mi-ID.LABEL instead of i-ID and mi-ID' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l user -d 'The user to log in as, unless ssh is told another; without it, ssh takes the local user\'s name' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l push-key -d 'Push a public key with EC2 Instance Connect before connecting; one can log in with it for a minute' -r -F
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l profile -d 'The profile of the shared configuration files' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l region -d 'The AWS region' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l endpoint-url -d 'The address of the Systems Manager API, such as a VPC endpoint\'s' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l endpoint -d 'The address of a service, such as a VPC endpoint\'s; may be repeated' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l proxy -d 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT' -r -f
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l ca-bundle -d 'A file of certificates to trust beside those the system trusts, in PEM format' -r -F
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l file -d 'The configuration file to use instead of ~/.ssh/config' -r -F
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -l install -d 'Put the stanza into the configuration file instead of printing it'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand ssh-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -l listen -d 'The loopback address and port to serve on; port 0 is any free one' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -l public-url -d 'Where clients find the lab, if something in between leads them here, such as a reverse proxy with TLS' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -l authorized-keys-dir -d 'Where keys pushed with EC2 Instance Connect go, as files named TARGET/USER' -r -f -a "(__fish_complete_directories)"
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -l agent-version -d 'The version the agents claim and behave as' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -l kms-key -d 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -l chaos -d 'What goes wrong, such as delay=20ms,drop=5%,cut/60s' -r
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -l pace -d 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -s q -l quiet -d 'Print errors only'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -l json -d 'Print where the lab is as JSON on standard output, instead of the environment to export'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -s v -l verbose -d 'Print more: -vv debug logs, -vvv every message'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand lab" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand plugin" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand help; and not __fish_seen_subcommand_from shell exec proxy ssh-config lab plugin completions man help" -f -a "shell" -d 'Open a shell on a target'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand help; and not __fish_seen_subcommand_from shell exec proxy ssh-config lab plugin completions man help" -f -a "exec" -d 'Run a command on a target, with its output and its exit code'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand help; and not __fish_seen_subcommand_from shell exec proxy ssh-config lab plugin completions man help" -f -a "proxy" -d 'Connect standard input and output to a port of TARGET, as ProxyCommand of ssh'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand help; and not __fish_seen_subcommand_from shell exec proxy ssh-config lab plugin completions man help" -f -a "ssh-config" -d 'Print the stanza with which ssh, scp, sftp and rsync reach managed nodes by their id'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand help; and not __fish_seen_subcommand_from shell exec proxy ssh-config lab plugin completions man help" -f -a "lab" -d 'Run a Session Manager of your own on loopback; no AWS account is needed'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand help; and not __fish_seen_subcommand_from shell exec proxy ssh-config lab plugin completions man help" -f -a "plugin" -d 'Be the AWS CLI\'s session-manager-plugin, which a link of that name to ssmfwd is too'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand help; and not __fish_seen_subcommand_from shell exec proxy ssh-config lab plugin completions man help" -f -a "completions" -d 'Print the completion script of a shell'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand help; and not __fish_seen_subcommand_from shell exec proxy ssh-config lab plugin completions man help" -f -a "man" -d 'Print a man page'
complete -c ssmfwd -n "__fish_ssmfwd_using_subcommand help; and not __fish_seen_subcommand_from shell exec proxy ssh-config lab plugin completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
