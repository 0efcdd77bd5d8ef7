use strict; use warnings; use IO::Socket::INET;
$| = 1;
$SIG{TERM} = sub { print "bye\n"; exit 0 };
my $server = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $ENV{PORT}, Listen => 64, ReuseAddr => 1) or die "no socket: $!";
print "listening on $ENV{PORT}\n";
while (1) {
    my $client = $server->accept() or next;
    while (my $header = <$client>) { last if $header =~ /^\r?\n$/ }
    my $body = "hello $ENV{CF_INSTANCE_INDEX} " . ($ENV{GREETING} // '(unset)');
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}
