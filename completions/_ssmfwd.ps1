
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'ssmfwd' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'ssmfwd'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'ssmfwd' {
            [CompletionResult]::new('--document', '--document', [CompletionResultType]::ParameterName, 'A Session Manager document of your own, for exactly one FORWARD')
            [CompletionResult]::new('--parameter', '--parameter', [CompletionResultType]::ParameterName, 'A parameter for the document; may be repeated')
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why the session is started, for the account''s audit log; 1 to 256 characters')
            [CompletionResult]::new('--payload-size', '--payload-size', [CompletionResultType]::ParameterName, 'The most payload one message upwards carries, in bytes: 256 to 32768')
            [CompletionResult]::new('--half-close', '--half-close', [CompletionResultType]::ParameterName, 'How long the end of a local sender''s data is held back, in seconds')
            [CompletionResult]::new('--ping-interval', '--ping-interval', [CompletionResultType]::ParameterName, 'How long the service may be silent before it is asked for a sign of life, in seconds: 1 to 300')
            [CompletionResult]::new('--dead-after', '--dead-after', [CompletionResultType]::ParameterName, 'How long the service may be silent before its connection counts as lost, in seconds: 2 to 600')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The profile of the shared configuration files')
            [CompletionResult]::new('--region', '--region', [CompletionResultType]::ParameterName, 'The AWS region')
            [CompletionResult]::new('--endpoint-url', '--endpoint-url', [CompletionResultType]::ParameterName, 'The address of the Systems Manager API, such as a VPC endpoint''s')
            [CompletionResult]::new('--endpoint', '--endpoint', [CompletionResultType]::ParameterName, 'The address of a service, such as a VPC endpoint''s; may be repeated')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT')
            [CompletionResult]::new('--ca-bundle', '--ca-bundle', [CompletionResultType]::ParameterName, 'A file of certificates to trust beside those the system trusts, in PEM format')
            [CompletionResult]::new('--ready-fd', '--ready-fd', [CompletionResultType]::ParameterName, 'Write READY and a newline to this inherited file descriptor once every forward works')
            [CompletionResult]::new('--agent-version', '--agent-version', [CompletionResultType]::ParameterName, 'The version the agents claim and behave as')
            [CompletionResult]::new('--kms-key', '--kms-key', [CompletionResultType]::ParameterName, 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN')
            [CompletionResult]::new('--chaos', '--chaos', [CompletionResultType]::ParameterName, 'What goes wrong, such as delay=20ms,drop=5%,cut/60s')
            [CompletionResult]::new('--keep-alive', '--keep-alive', [CompletionResultType]::ParameterName, 'Keep sessions that are not used from ending with the account''s idle timeout')
            [CompletionResult]::new('--lazy', '--lazy', [CompletionResultType]::ParameterName, 'Start no session before the first connection to its forward')
            [CompletionResult]::new('--no-reconnect', '--no-reconnect', [CompletionResultType]::ParameterName, 'End, with exit code 6, when a session or its connection is lost')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print events as JSON on standard output, one object per line')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print more: -v every connection, -vv also debug logs, -vvv every message')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print more: -v every connection, -vv also debug logs, -vvv every message')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--lab', '--lab', [CompletionResultType]::ParameterName, 'Use an embedded Session Manager in which TARGET exists, instead of AWS')
            [CompletionResult]::new('--pace', '--pace', [CompletionResultType]::ParameterName, 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('shell', 'shell', [CompletionResultType]::ParameterValue, 'Open a shell on a target')
            [CompletionResult]::new('exec', 'exec', [CompletionResultType]::ParameterValue, 'Run a command on a target, with its output and its exit code')
            [CompletionResult]::new('proxy', 'proxy', [CompletionResultType]::ParameterValue, 'Connect standard input and output to a port of TARGET, as ProxyCommand of ssh')
            [CompletionResult]::new('ssh-config', 'ssh-config', [CompletionResultType]::ParameterValue, 'Print the stanza with which ssh, scp, sftp and rsync reach managed nodes by their id')
            [CompletionResult]::new('lab', 'lab', [CompletionResultType]::ParameterValue, 'Run a Session Manager of your own on loopback; no AWS account is needed')
            [CompletionResult]::new('plugin', 'plugin', [CompletionResultType]::ParameterValue, 'Be the AWS CLI''s session-manager-plugin, which a link of that name to ssmfwd is too')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completion script of a shell')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print a man page')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'ssmfwd;shell' {
            [CompletionResult]::new('--escape-char', '--escape-char', [CompletionResultType]::ParameterName, 'The character that begins an escape at the start of a line, or none')
            [CompletionResult]::new('--document', '--document', [CompletionResultType]::ParameterName, 'A Session Manager document of your own')
            [CompletionResult]::new('--parameter', '--parameter', [CompletionResultType]::ParameterName, 'A parameter for the document; may be repeated')
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why the session is started, for the account''s audit log; 1 to 256 characters')
            [CompletionResult]::new('--payload-size', '--payload-size', [CompletionResultType]::ParameterName, 'The most payload one message upwards carries, in bytes: 256 to 32768')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The profile of the shared configuration files')
            [CompletionResult]::new('--region', '--region', [CompletionResultType]::ParameterName, 'The AWS region')
            [CompletionResult]::new('--endpoint-url', '--endpoint-url', [CompletionResultType]::ParameterName, 'The address of the Systems Manager API, such as a VPC endpoint''s')
            [CompletionResult]::new('--endpoint', '--endpoint', [CompletionResultType]::ParameterName, 'The address of a service, such as a VPC endpoint''s; may be repeated')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT')
            [CompletionResult]::new('--ca-bundle', '--ca-bundle', [CompletionResultType]::ParameterName, 'A file of certificates to trust beside those the system trusts, in PEM format')
            [CompletionResult]::new('--agent-version', '--agent-version', [CompletionResultType]::ParameterName, 'The version the agents claim and behave as')
            [CompletionResult]::new('--kms-key', '--kms-key', [CompletionResultType]::ParameterName, 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN')
            [CompletionResult]::new('--chaos', '--chaos', [CompletionResultType]::ParameterName, 'What goes wrong, such as delay=20ms,drop=5%,cut/60s')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print more: -v how the session ends, -vv also debug logs, -vvv every message')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print more: -v how the session ends, -vv also debug logs, -vvv every message')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--lab', '--lab', [CompletionResultType]::ParameterName, 'Use an embedded Session Manager in which TARGET exists, instead of AWS')
            [CompletionResult]::new('--pace', '--pace', [CompletionResultType]::ParameterName, 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'ssmfwd;exec' {
            [CompletionResult]::new('--escape-char', '--escape-char', [CompletionResultType]::ParameterName, 'The character that begins an escape at the start of a line, or none; see ssmfwd shell')
            [CompletionResult]::new('--document', '--document', [CompletionResultType]::ParameterName, 'A Session Manager document of your own')
            [CompletionResult]::new('--parameter', '--parameter', [CompletionResultType]::ParameterName, 'A parameter for the document; may be repeated')
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why the session is started, for the account''s audit log; 1 to 256 characters')
            [CompletionResult]::new('--payload-size', '--payload-size', [CompletionResultType]::ParameterName, 'The most payload one message upwards carries, in bytes: 256 to 32768')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The profile of the shared configuration files')
            [CompletionResult]::new('--region', '--region', [CompletionResultType]::ParameterName, 'The AWS region')
            [CompletionResult]::new('--endpoint-url', '--endpoint-url', [CompletionResultType]::ParameterName, 'The address of the Systems Manager API, such as a VPC endpoint''s')
            [CompletionResult]::new('--endpoint', '--endpoint', [CompletionResultType]::ParameterName, 'The address of a service, such as a VPC endpoint''s; may be repeated')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT')
            [CompletionResult]::new('--ca-bundle', '--ca-bundle', [CompletionResultType]::ParameterName, 'A file of certificates to trust beside those the system trusts, in PEM format')
            [CompletionResult]::new('--agent-version', '--agent-version', [CompletionResultType]::ParameterName, 'The version the agents claim and behave as')
            [CompletionResult]::new('--kms-key', '--kms-key', [CompletionResultType]::ParameterName, 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN')
            [CompletionResult]::new('--chaos', '--chaos', [CompletionResultType]::ParameterName, 'What goes wrong, such as delay=20ms,drop=5%,cut/60s')
            [CompletionResult]::new('-t', '-t', [CompletionResultType]::ParameterName, 'Give the command a terminal: ours, as in ssmfwd shell')
            [CompletionResult]::new('--tty', '--tty', [CompletionResultType]::ParameterName, 'Give the command a terminal: ours, as in ssmfwd shell')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print more: -v how the session ends, -vv also debug logs, -vvv every message')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print more: -v how the session ends, -vv also debug logs, -vvv every message')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--lab', '--lab', [CompletionResultType]::ParameterName, 'Use an embedded Session Manager in which TARGET exists, instead of AWS')
            [CompletionResult]::new('--pace', '--pace', [CompletionResultType]::ParameterName, 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'ssmfwd;proxy' {
            [CompletionResult]::new('--push-key', '--push-key', [CompletionResultType]::ParameterName, 'Push a public key with EC2 Instance Connect before connecting; one can log in with it for a minute')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'The user who can log in with the pushed key')
            [CompletionResult]::new('--document', '--document', [CompletionResultType]::ParameterName, 'The Session Manager document')
            [CompletionResult]::new('--parameter', '--parameter', [CompletionResultType]::ParameterName, 'A parameter for the document; may be repeated')
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why the session is started, for the account''s audit log; 1 to 256 characters')
            [CompletionResult]::new('--half-close', '--half-close', [CompletionResultType]::ParameterName, 'How long the rest of the answer is waited for once standard input has ended, in seconds of silence')
            [CompletionResult]::new('--payload-size', '--payload-size', [CompletionResultType]::ParameterName, 'The most payload one message upwards carries, in bytes: 256 to 32768')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The profile of the shared configuration files')
            [CompletionResult]::new('--region', '--region', [CompletionResultType]::ParameterName, 'The AWS region')
            [CompletionResult]::new('--endpoint-url', '--endpoint-url', [CompletionResultType]::ParameterName, 'The address of the Systems Manager API, such as a VPC endpoint''s')
            [CompletionResult]::new('--endpoint', '--endpoint', [CompletionResultType]::ParameterName, 'The address of a service, such as a VPC endpoint''s; may be repeated')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT')
            [CompletionResult]::new('--ca-bundle', '--ca-bundle', [CompletionResultType]::ParameterName, 'A file of certificates to trust beside those the system trusts, in PEM format')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print more to standard error: -v how the session ended, -vv also debug logs, -vvv every message')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print more to standard error: -v how the session ended, -vv also debug logs, -vvv every message')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'ssmfwd;ssh-config' {
            [CompletionResult]::new('--label', '--label', [CompletionResultType]::ParameterName, 'Make the hosts i-ID.LABEL and mi-ID.LABEL instead of i-ID and mi-ID')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'The user to log in as, unless ssh is told another; without it, ssh takes the local user''s name')
            [CompletionResult]::new('--push-key', '--push-key', [CompletionResultType]::ParameterName, 'Push a public key with EC2 Instance Connect before connecting; one can log in with it for a minute')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'The profile of the shared configuration files')
            [CompletionResult]::new('--region', '--region', [CompletionResultType]::ParameterName, 'The AWS region')
            [CompletionResult]::new('--endpoint-url', '--endpoint-url', [CompletionResultType]::ParameterName, 'The address of the Systems Manager API, such as a VPC endpoint''s')
            [CompletionResult]::new('--endpoint', '--endpoint', [CompletionResultType]::ParameterName, 'The address of a service, such as a VPC endpoint''s; may be repeated')
            [CompletionResult]::new('--proxy', '--proxy', [CompletionResultType]::ParameterName, 'The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT')
            [CompletionResult]::new('--ca-bundle', '--ca-bundle', [CompletionResultType]::ParameterName, 'A file of certificates to trust beside those the system trusts, in PEM format')
            [CompletionResult]::new('--file', '--file', [CompletionResultType]::ParameterName, 'The configuration file to use instead of ~/.ssh/config')
            [CompletionResult]::new('--install', '--install', [CompletionResultType]::ParameterName, 'Put the stanza into the configuration file instead of printing it')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'ssmfwd;lab' {
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'The loopback address and port to serve on; port 0 is any free one')
            [CompletionResult]::new('--public-url', '--public-url', [CompletionResultType]::ParameterName, 'Where clients find the lab, if something in between leads them here, such as a reverse proxy with TLS')
            [CompletionResult]::new('--authorized-keys-dir', '--authorized-keys-dir', [CompletionResultType]::ParameterName, 'Where keys pushed with EC2 Instance Connect go, as files named TARGET/USER')
            [CompletionResult]::new('--agent-version', '--agent-version', [CompletionResultType]::ParameterName, 'The version the agents claim and behave as')
            [CompletionResult]::new('--kms-key', '--kms-key', [CompletionResultType]::ParameterName, 'Encrypt shells and commands with this KMS key: an id, an alias or an ARN')
            [CompletionResult]::new('--chaos', '--chaos', [CompletionResultType]::ParameterName, 'What goes wrong, such as delay=20ms,drop=5%,cut/60s')
            [CompletionResult]::new('--pace', '--pace', [CompletionResultType]::ParameterName, 'Let the agents send as slowly as the real ones: 1024 bytes, then a pause of a millisecond')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print errors only')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print where the lab is as JSON on standard output, instead of the environment to export')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print more: -vv debug logs, -vvv every message')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print more: -vv debug logs, -vvv every message')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'ssmfwd;plugin' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'ssmfwd;completions' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'ssmfwd;man' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'ssmfwd;help' {
            [CompletionResult]::new('shell', 'shell', [CompletionResultType]::ParameterValue, 'Open a shell on a target')
            [CompletionResult]::new('exec', 'exec', [CompletionResultType]::ParameterValue, 'Run a command on a target, with its output and its exit code')
            [CompletionResult]::new('proxy', 'proxy', [CompletionResultType]::ParameterValue, 'Connect standard input and output to a port of TARGET, as ProxyCommand of ssh')
            [CompletionResult]::new('ssh-config', 'ssh-config', [CompletionResultType]::ParameterValue, 'Print the stanza with which ssh, scp, sftp and rsync reach managed nodes by their id')
            [CompletionResult]::new('lab', 'lab', [CompletionResultType]::ParameterValue, 'Run a Session Manager of your own on loopback; no AWS account is needed')
            [CompletionResult]::new('plugin', 'plugin', [CompletionResultType]::ParameterValue, 'Be the AWS CLI''s session-manager-plugin, which a link of that name to ssmfwd is too')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completion script of a shell')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print a man page')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'ssmfwd;help;shell' {
            break
        }
        'ssmfwd;help;exec' {
            break
        }
        'ssmfwd;help;proxy' {
            break
        }
        'ssmfwd;help;ssh-config' {
            break
        }
        'ssmfwd;help;lab' {
            break
        }
        'ssmfwd;help;plugin' {
            break
        }
        'ssmfwd;help;completions' {
            break
        }
        'ssmfwd;help;man' {
            break
        }
        'ssmfwd;help;help' {
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
