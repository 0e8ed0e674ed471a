// A worker for remuda: answers HTTP on the sockets it is given, says that it is ready, goes when it is asked.
//
//	go build -o worker worker.go && remuda run -b 127.0.0.1:8080 -n 4 --ack manual -- ./worker
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// listeners returns the sockets at descriptor 3 and up, as sd_listen_fds(3) has them.
func listeners() ([]net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return nil, err
	}
	var found []net.Listener
	for number := 3; number < 3+count; number++ {
		file := os.NewFile(uintptr(number), "listener")
		// FileListener makes a copy.
		listener, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return nil, err
		}
		// The path of a Unix socket is the manager's to remove.
		if unix, ok := listener.(*net.UnixListener); ok {
			unix.SetUnlinkOnClose(false)
		}
		found = append(found, listener)
	}
	return found, nil
}

// notify sends one datagram to the manager, as sd_notify(3) has it.
func notify(text string) error {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil
	}
	// The net package knows that a name with @ is an abstract one.
	sender, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer sender.Close()
	_, err = sender.Write([]byte(text))
	return err
}

func main() {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	shared, err := listeners()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(out, "go %d\n", os.Getpid())
	})}
	for _, listener := range shared {
		go server.Serve(listener)
	}
	if err := notify("READY=1"); err != nil {
		log.Print(err)
	}
	<-stop.Done()
	notify("STOPPING=1")
	// Stops accepting, finishes what it has begun.
	server.Shutdown(context.Background())
}
