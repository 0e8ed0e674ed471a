# The least application for servers of Perl: / is answered at once, /slow in two parts, with two seconds between.
use strict;
use warnings;

my @head = (200, ['Content-Type' => 'text/plain', 'Content-Length' => 3]);

sub {
    my $env = shift;
    return [@head, ["ok\n"]] if $env->{PATH_INFO} ne '/slow';
    return sub {
        my $writer = shift->([@head]);
        $writer->write("o");
        sleep 2;
        $writer->write("k\n");
        $writer->close;
    };
};
