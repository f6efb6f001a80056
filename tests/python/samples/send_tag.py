# sender side
sess.ctrl_send(peer=0, tag=1)
