# A worker for remuda: answers HTTP on the sockets it is given, says that it is ready, goes when it is asked.
#
#     remuda run -b 127.0.0.1:8080 -n 4 --ack manual -- ruby worker.rb
require "socket"

# The sockets at descriptor 3 and up, as sd_listen_fds(3) has them.
def listeners
  return [] unless ENV["LISTEN_PID"] == Process.pid.to_s

  (3...3 + ENV["LISTEN_FDS"].to_i).map { |number| Socket.for_fd(number) }
end

# One datagram to the manager, as sd_notify(3) has it.
def notify(text)
  address = ENV["NOTIFY_SOCKET"] or return
  address = "\0#{address[1..]}" if address.start_with?("@")
  sender = Socket.new(:UNIX, :DGRAM)
  sender.send(text, 0, Socket.pack_sockaddr_un(address))
  sender.close
end

def answer(client)
  request = +""
  request << client.readpartial(65_536) until request.include?("\r\n\r\n")
  body = "ruby #{Process.pid}\n"
  client.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}")
rescue EOFError, SystemCallError
  nil # The client is gone.
ensure
  client.close
end

# The signal writes a byte that the loop waits for: no connection that was accepted is ever left half way.
wake, waker = IO.pipe
trap("TERM") { waker.write_nonblock(".") }
shared = listeners
notify("READY=1")
loop do
  ready, = IO.select([wake, *shared])
  if ready.include?(wake)
    notify("STOPPING=1")
    exit
  end
  ready.each do |listener|
    client, = listener.accept_nonblock(exception: false)
    answer(client) unless client.nil? || client == :wait_readable
  end
end
