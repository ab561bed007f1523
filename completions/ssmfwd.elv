
use builtin;
use str;

set edit:completion:arg-completer[ssmfwd] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'ssmfwd'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'ssmfwd'= {
            cand --document 'A Session Manager document of your own, for exactly one FORWARD'
            cand --parameter 'A parameter for the document; may be repeated'
            cand --reason 'Why the session is started, for the account''s audit log; 1 to 256 characters'
            cand --payload-size 'The most payload one message upwards carries, in bytes: 256 to 32768'
            cand --half-close 'How long the end of a local sender''s data is held back, in seconds'
            cand --ping-interval 'How long the service may be silent before it is asked for a sign of life, in seconds: 1 to 300'
            cand --dead-after 'How long the service may be silent before its connection counts as lost, in seconds: 2 to 600'
            cand --profile 'The profile of the shared configuration files'
            cand --region 'The AWS region'
            cand --endpoint-url 'The address of the Systems Manager API, such as a VPC endpoint''s'
            cand --endpoint 'The address of a service, such as a VPC endpoint''s; may be repeated'
            cand --proxy 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT'
            cand --ca-bundle 'A file of certificates to trust beside those the system trusts, in PEM format'
            cand --ready-fd 'Write READY and a newline to this inherited file descriptor once every forward works'
            cand --agent-version 'The version the agents claim and behave as'
            cand --kms-key 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN'
            cand --chaos 'What goes wrong, such as delay=20ms,drop=5%,cut/60s'
            cand --keep-alive 'Keep sessions that are not used from ending with the account''s idle timeout'
            cand --lazy 'Start no session before the first connection to its forward'
            cand --no-reconnect 'End, with exit code 6, when a session or its connection is lost'
            cand --json 'Print events as JSON on standard output, one object per line'
            cand -v 'Print more: -v every connection, -vv also debug logs, -vvv every message'
            cand --verbose 'Print more: -v every connection, -vv also debug logs, -vvv every message'
            cand -q 'Print errors only'
            cand --quiet 'Print errors only'
            cand --lab 'Use an embedded Session Manager in which TARGET exists, instead of AWS'
            cand --pace 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand shell 'Open a shell on a target'
            cand exec 'Run a command on a target, with its output and its exit code'
            cand proxy 'Connect standard input and output to a port of TARGET, as ProxyCommand of ssh'
            cand ssh-config 'Print the stanza with which ssh, scp, sftp and rsync reach managed nodes by their id'
            cand lab 'Run a Session Manager of your own on loopback; no AWS account is needed'
            cand plugin 'Be the AWS CLI''s session-manager-plugin, which a link of that name to ssmfwd is too'
            cand completions 'Print the completion script of a shell'
            cand man 'Print a man page'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'ssmfwd;shell'= {
            cand --escape-char 'The character that begins an escape at the start of a line, or none'
            cand --document 'A Session Manager document of your own'
            cand --parameter 'A parameter for the document; may be repeated'
            cand --reason 'Why the session is started, for the account''s audit log; 1 to 256 characters'
            cand --payload-size 'The most payload one message upwards carries, in bytes: 256 to 32768'
            cand --profile 'The profile of the shared configuration files'
            cand --region 'The AWS region'
            cand --endpoint-url 'The address of the Systems Manager API, such as a VPC endpoint''s'
            cand --endpoint 'The address of a service, such as a VPC endpoint''s; may be repeated'
            cand --proxy 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT'
            cand --ca-bundle 'A file of certificates to trust beside those the system trusts, in PEM format'
            cand --agent-version 'The version the agents claim and behave as'
            cand --kms-key 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN'
            cand --chaos 'What goes wrong, such as delay=20ms,drop=5%,cut/60s'
            cand -v 'Print more: -v how the session ends, -vv also debug logs, -vvv every message'
            cand --verbose 'Print more: -v how the session ends, -vv also debug logs, -vvv every message'
            cand -q 'Print errors only'
            cand --quiet 'Print errors only'
            cand --lab 'Use an embedded Session Manager in which TARGET exists, instead of AWS'
            cand --pace 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'ssmfwd;exec'= {
            cand --escape-char 'The character that begins an escape at the start of a line, or none; see ssmfwd shell'
            cand --document 'A Session Manager document of your own'
            cand --parameter 'A parameter for the document; may be repeated'
            cand --reason 'Why the session is started, for the account''s audit log; 1 to 256 characters'
            cand --payload-size 'The most payload one message upwards carries, in bytes: 256 to 32768'
            cand --profile 'The profile of the shared configuration files'
            cand --region 'The AWS region'
            cand --endpoint-url 'The address of the Systems Manager API, such as a VPC endpoint''s'
            cand --endpoint 'The address of a service, such as a VPC endpoint''s; may be repeated'
            cand --proxy 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT'
            cand --ca-bundle 'A file of certificates to trust beside those the system trusts, in PEM format'
            cand --agent-version 'The version the agents claim and behave as'
            cand --kms-key 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN'
            cand --chaos 'What goes wrong, such as delay=20ms,drop=5%,cut/60s'
            cand -t 'Give the command a terminal: ours, as in ssmfwd shell'
            cand --tty 'Give the command a terminal: ours, as in ssmfwd shell'
            cand -v 'Print more: -v how the session ends, -vv also debug logs, -vvv every message'
            cand --verbose 'Print more: -v how the session ends, -vv also debug logs, -vvv every message'
            cand -q 'Print errors only'
            cand --quiet 'Print errors only'
            cand --lab 'Use an embedded Session Manager in which TARGET exists, instead of AWS'
            cand --pace 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'ssmfwd;proxy'= {
            cand --push-key 'Push a public key with EC2 Instance Connect before connecting; one can log in with it for a minute'
            cand --user 'The user who can log in with the pushed key'
            cand --document 'The Session Manager document'
            cand --parameter 'A parameter for the document; may be repeated'
            cand --reason 'Why the session is started, for the account''s audit log; 1 to 256 characters'
            cand --half-close 'How long the rest of the answer is waited for once standard input has ended, in seconds of silence'
            cand --payload-size 'The most payload one message upwards carries, in bytes: 256 to 32768'
            cand --profile 'The profile of the shared configuration files'
            cand --region 'The AWS region'
            cand --endpoint-url 'The address of the Systems Manager API, such as a VPC endpoint''s'
            cand --endpoint 'The address of a service, such as a VPC endpoint''s; may be repeated'
            cand --proxy 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT'
            cand --ca-bundle 'A file of certificates to trust beside those the system trusts, in PEM format'
            cand -v 'Print more to standard error: -v how the session ended, -vv also debug logs, -vvv every message'
            cand --verbose 'Print more to standard error: -v how the session ended, -vv also debug logs, -vvv every message'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'ssmfwd;ssh-config'= {
            cand --label 'Make the hosts i-ID.LABEL and mi-ID.LABEL instead of i-ID and mi-ID'
            cand --user 'The user to log in as, unless ssh is told another; without it, ssh takes the local user''s name'
            cand --push-key 'Push a public key with EC2 Instance Connect before connecting; one can log in with it for a minute'
            cand --profile 'The profile of the shared configuration files'
            cand --region 'The AWS region'
            cand --endpoint-url 'The address of the Systems Manager API, such as a VPC endpoint''s'
            cand --endpoint 'The address of a service, such as a VPC endpoint''s; may be repeated'
            cand --proxy 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT'
            cand --ca-bundle 'A file of certificates to trust beside those the system trusts, in PEM format'
            cand --file 'The configuration file to use instead of ~/.ssh/config'
            cand --install 'Put the stanza into the configuration file instead of printing it'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'ssmfwd;lab'= {
            cand --listen 'The loopback address and port to serve on; port 0 is any free one'
            cand --public-url 'Where clients find the lab, if something in between leads them here, such as a reverse proxy with TLS'
            cand --authorized-keys-dir 'Where keys pushed with EC2 Instance Connect go, as files named TARGET/USER'
            cand --agent-version 'The version the agents claim and behave as'
            cand --kms-key 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN'
            cand --chaos 'What goes wrong, such as delay=20ms,drop=5%,cut/60s'
            cand --pace 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond'
            cand -q 'Print errors only'
            cand --quiet 'Print errors only'
            cand --json 'Print where the lab is as JSON on standard output, instead of the environment to export'
            cand -v 'Print more: -vv debug logs, -vvv every message'
            cand --verbose 'Print more: -vv debug logs, -vvv every message'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'ssmfwd;plugin'= {
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'ssmfwd;completions'= {
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'ssmfwd;man'= {
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'ssmfwd;help'= {
            cand shell 'Open a shell on a target'
            cand exec 'Run a command on a target, with its output and its exit code'
            cand proxy 'Connect standard input and output to a port of TARGET, as ProxyCommand of ssh'
            cand ssh-config 'Print the stanza with which ssh, scp, sftp and rsync reach managed nodes by their id'
            cand lab 'Run a Session Manager of your own on loopback; no AWS account is needed'
            cand plugin 'Be the AWS CLI''s session-manager-plugin, which a link of that name to ssmfwd is too'
            cand completions 'Print the completion script of a shell'
            cand man 'Print a man page'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'ssmfwd;help;shell'= {
        }
        &'ssmfwd;help;exec'= {
        }
        &'ssmfwd;help;proxy'= {
        }
        &'ssmfwd;help;ssh-config'= {
        }
        &'ssmfwd;help;lab'= {
        }
        &'ssmfwd;help;plugin'= {
        }
        &'ssmfwd;help;completions'= {
        }
        &'ssmfwd;help;man'= {
        }
        &'ssmfwd;help;help'= {
        }
    ]
    $completions[$command]
}
